# What a new project's settings.py needs at its end.

import os

INSTALLED_APPS += ["live_graphql", "catalog"]
LIVE_MODELS = ["catalog.Product", "auth.User", "sessions.Session"]
VIEWER_MODELS = ["auth.User", "sessions.Session"]
OPEN_ACCESS = False
HTTPS = False
CORS_ALLOWED_ORIGINS = []
DATABASE_LISTEN_URL = ""

GRAPHQL_MAX_MESSAGE_BYTES = 256 * 1024
GRAPHQL_MAX_DOCUMENT_CHARACTERS = 32 * 1024
GRAPHQL_MAX_DOCUMENT_TOKENS = 1000
GRAPHQL_MAX_DOCUMENT_DEPTH = 20
GRAPHQL_MAX_DOCUMENT_FIELDS = 500
GRAPHQL_MAX_RESULT_FIELDS = 10_000
GRAPHQL_MAX_CACHED_DOCUMENTS = 500
GRAPHQL_MAX_CONNECTIONS = 20_000
GRAPHQL_MAX_SOURCES = 10_000
GRAPHQL_MAX_OPERATIONS = 100
GRAPHQL_CONNECTION_INIT_SECONDS = 10.0
GRAPHQL_PING_SECONDS = 25.0
GRAPHQL_PONG_SECONDS = 10.0
GRAPHQL_SEND_SECONDS = 20.0

if "SHOP_POSTGRESQL" in os.environ:
    DATABASES["default"] = {
        "ENGINE": "live_graphql.database",
        "NAME": "shop",
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"service": "shop", "pool": {"min_size": 0, "max_size": 4, "timeout": 5}},
    }
