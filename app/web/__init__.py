"""What a server needs around its API: health, metrics, static files, pages, HTTPS."""
