"""What is added to the existing settings."""

from benchmarks.adoption.settings import *  # noqa: F403
from benchmarks.adoption.settings import INSTALLED_APPS

INSTALLED_APPS = ["app", *INSTALLED_APPS]
