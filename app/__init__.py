"""Live GraphQL for Django: the machinery, which any domain stands on."""

__version__ = "0.2.0"
