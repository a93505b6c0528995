"""What `manage.py` can do with orders."""
