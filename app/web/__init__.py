"""What a server needs around its API: health, metrics, files, pages, HTTPS, signing in."""
