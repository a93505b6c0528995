"""The project's settings, open to everybody, without what DEBUG costs: a log of all queries."""

from settings import *  # noqa: F403

DEBUG = False
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
