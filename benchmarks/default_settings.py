"""Django's settings for servers without this project's parts: the database as Django has it."""

import dj_database_url

from benchmarks.open_settings import *  # noqa: F403
from settings import DATABASE_URL, DATABASES

DATABASES["default"] = {**dj_database_url.parse(DATABASE_URL)}
