"""Live GraphQL for Django: machinery that knows no domain, under whatever name it is installed.

What a project imports is here, in `database`, and in `testing`.
"""

from typing import TYPE_CHECKING

from .database.lazy import lazily

if TYPE_CHECKING:
    from .authentication.django_sessions import DjangoSessions as DjangoSessions
    from .authentication.jwt import Claims as Claims
    from .authentication.jwt import JWTSessions as JWTSessions
    from .changes.feed import Feed as Feed
    from .changes.feed import Watch as Watch
    from .changes.routing import ReplicaRouter as ReplicaRouter
    from .graphql.context import Context as Context
    from .graphql.context import Info as Info
    from .graphql.errors import BadUserInputError as BadUserInputError
    from .graphql.errors import ClientError as ClientError
    from .graphql.errors import ForbiddenError as ForbiddenError
    from .graphql.errors import NotFoundError as NotFoundError
    from .graphql.errors import UnauthenticatedError as UnauthenticatedError
    from .server import LiveGraphQL as LiveGraphQL
    from .viewer import Authenticate as Authenticate
    from .viewer import Credentials as Credentials
    from .viewer import InvalidCredentialError as InvalidCredentialError
    from .viewer import Session as Session
    from .viewer import UnknownViewerError as UnknownViewerError
    from .viewer import Viewer as Viewer

__version__ = "0.2.0"

NAMES = {
    "authentication.django_sessions": ("DjangoSessions",),
    "authentication.jwt": ("Claims", "JWTSessions"),
    "changes.feed": ("Feed", "Watch"),
    "changes.routing": ("ReplicaRouter",),
    "graphql.context": ("Context", "Info"),
    "graphql.errors": (
        "BadUserInputError",
        "ClientError",
        "ForbiddenError",
        "NotFoundError",
        "UnauthenticatedError",
    ),
    "server": ("LiveGraphQL",),
    "viewer": (
        "Authenticate",
        "Credentials",
        "InvalidCredentialError",
        "Session",
        "UnknownViewerError",
        "Viewer",
    ),
}
__getattr__ = lazily(__name__, NAMES)
