"""What is added to the existing settings, for one process."""

from benchmarks.adoption.settings import *  # noqa: F403
from benchmarks.adoption.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "strawberry_django", "benchmarks.adoption.strawberry"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
