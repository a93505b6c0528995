"""The shop made live by Strawberry-Django and Channels, as their documentation tells."""
