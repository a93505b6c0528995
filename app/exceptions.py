"""What all exceptions of this package have in common."""


class LiveError(Exception):
    """The base of every exception class of this package."""
