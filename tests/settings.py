"""The settings under test: nothing of a developer's own `.env` counts."""

import os
import tempfile

os.environ |= {
    "ENV_FILE": os.devnull,
    "SECRET_KEY": "only for tests, where nothing is secret",
    "DEBUG": "false",
    "HTTPS": "false",
    "OPEN_ACCESS": "false",
    "CORS_ALLOWED_ORIGINS": "",
    "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
}
if not os.environ.get("DATABASE_URL", "").startswith("postgres"):
    os.environ["DATABASE_URL"] = f"sqlite:///{tempfile.gettempdir()}/not-used.sqlite3"

from tests.items.settings import *  # noqa: F403
from tests.items.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.database.library"]

# What `app.defaults` adds, for the type checker.
LIVE_MODELS: list[str]
VIEWER_MODELS: list[str] | None
LIVE_REPLICA_SECONDS: float
SIGN_IN_FAILURES: int
SIGN_IN_ADDRESS_FAILURES: int
SIGN_IN_COOLOFF_MINUTES: float
GRAPHQL_MAX_MESSAGE_BYTES: int
HTTP_MAX_BODY_BYTES: int
