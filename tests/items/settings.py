"""The project's settings, with items beside the project's own domain."""

from settings import *  # noqa: F403
from settings import INSTALLED_APPS as _APPS
from settings import LIVE_MODELS as _LIVE_MODELS

INSTALLED_APPS = [*_APPS, "tests.items"]
LIVE_MODELS = [*_LIVE_MODELS, "items.Item", "items.Part"]
LOGGING["loggers"]["tests"] = {"level": "INFO"}  # type: ignore[index]  # noqa: F405
