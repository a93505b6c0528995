"""The example domain: orders, and who may see them."""
