"""The same shop made live twice, by this project and by Strawberry-Django with Channels."""
