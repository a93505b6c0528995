"""A small domain with a server of its own, by which the machinery is tested."""
