"""Every setting of this package, with its value where a project's settings do not name it."""

import re
from typing import Any, Final

LIVE: Final[dict[str, Any]] = {
    # The tables whose changes reach subscribers, as "app_label.ModelName", or "app_label" for all
    # of an app. "*" stands for all models of the apps that are the project's own, not installed.
    "LIVE_MODELS": ["*"],
    # The tables that say who is signed in and who may do what; they are live, too. None: users,
    # their groups and permissions, and sessions, as far as the project has them.
    "VIEWER_MODELS": None,
    # Where LISTEN works, if that is not the database's own address.
    "DATABASE_LISTEN_URL": "",
    # Where `manage.py live` finds the servers of this host: a folder that only their user may
    # enter. Empty: one of that user's own among the temporary files.
    "LIVE_STATUS_DIR": "",
    # The aliases in DATABASES of the default database's read replicas, from which the sources of
    # subscriptions read. It needs `ReplicaRouter` in DATABASE_ROUTERS.
    "LIVE_REPLICAS": [],
}
ACCESS: Final[dict[str, Any]] = {
    # Lets everybody see and change everything: for demonstrations, under DEBUG only.
    "GRAPHQL_OPEN_ACCESS": False,
    # Other origins whose pages may use the API with the viewer's cookies, as https://example.org.
    "GRAPHQL_ALLOWED_ORIGINS": [],
    # Whether clients may ask what the schema is. None: as DEBUG.
    "GRAPHQL_INTROSPECTION": None,
    # The path of a file with all documents that clients may ask for; empty: they may ask for any.
    "GRAPHQL_TRUSTED_DOCUMENTS": "",
    # Whether traces have the text of documents, with all values that clients write into them.
    "GRAPHQL_TRACE_DOCUMENTS": False,
}
LIMITS: Final[dict[str, int | float]] = {
    "GRAPHQL_MAX_MESSAGE_BYTES": 256 * 1024,
    "GRAPHQL_MAX_DOCUMENT_CHARACTERS": 32 * 1024,
    "GRAPHQL_MAX_DOCUMENT_TOKENS": 1000,
    "GRAPHQL_MAX_DOCUMENT_DEPTH": 20,
    "GRAPHQL_MAX_DOCUMENT_FIELDS": 500,
    "GRAPHQL_MAX_RESULT_FIELDS": 10_000,
    "GRAPHQL_MAX_RESULT_BYTES": 1024 * 1024,
    "GRAPHQL_MAX_CACHED_DOCUMENTS": 500,
    "GRAPHQL_MAX_CONNECTIONS": 20_000,
    "GRAPHQL_MAX_CONNECTIONS_PER_VIEWER": 100,
    "GRAPHQL_MAX_SOURCES": 10_000,
    "GRAPHQL_MAX_SUBSCRIPTIONS_PER_VIEWER": 100,
    "GRAPHQL_MAX_COST_PER_VIEWER": 50_000,
    "GRAPHQL_MAX_OPERATIONS": 100,
    "GRAPHQL_MAX_OPERATIONS_PER_VIEWER": 300,
    "GRAPHQL_CONNECTION_INIT_SECONDS": 10.0,
    "GRAPHQL_PING_SECONDS": 25.0,
    "GRAPHQL_PONG_SECONDS": 10.0,
    "GRAPHQL_SEND_SECONDS": 20.0,
    # A replica that lags by more is not read from.
    "LIVE_REPLICA_SECONDS": 2.0,
    # Of a request to Django's views, files included.
    "HTTP_MAX_BODY_BYTES": 2_621_440,
    # What uvicorn lets a client do, if it was started with `LimitedHTTP`.
    "HTTP_HEAD_SECONDS": 10.0,
    "HTTP_BODY_SECONDS": 30.0,
    "HTTP_SEND_SECONDS": 20.0,
    "HTTP_MAX_HEAD_BYTES": 32 * 1024,
    "HTTP_MAX_CONNECTIONS_PER_ADDRESS": 100,
    # What `Guard` lets somebody try, if it is among AUTHENTICATION_BACKENDS.
    "SIGN_IN_FAILURES": 5,
    "SIGN_IN_ADDRESS_FAILURES": 50,
    "SIGN_IN_COOLOFF_MINUTES": 15.0,
}
DEFAULTS: Final[dict[str, Any]] = {**LIVE, **ACCESS, **LIMITS}


def is_origin(text: str) -> bool:
    """Whether it is one origin, and no pattern, since each may use the viewer's cookies."""
    return re.fullmatch(r"https?://[^/*]+", text) is not None


def complete(settings: Any) -> None:
    """Give Django's settings what they do not name."""
    for name, value in DEFAULTS.items():
        if not hasattr(settings, name):
            setattr(settings, name, value)
    if settings.GRAPHQL_INTROSPECTION is None:
        settings.GRAPHQL_INTROSPECTION = settings.DEBUG
