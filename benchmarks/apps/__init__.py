"""The ASGI servers that are compared; each module has an `application`."""
