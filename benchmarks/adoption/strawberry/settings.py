"""What is added to the existing settings, with Redis between processes."""

import os

from benchmarks.adoption.settings import *  # noqa: F403
from benchmarks.adoption.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "strawberry_django", "benchmarks.adoption.strawberry"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
    },
}
