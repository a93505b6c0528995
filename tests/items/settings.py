"""The project's settings, with items beside the project's own domain."""

from settings import *  # noqa: F403
from settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.items"]
LOGGING["loggers"]["tests"] = {"level": "INFO"}  # type: ignore[index]  # noqa: F405
