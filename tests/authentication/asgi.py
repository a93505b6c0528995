"""The items' server, for users whom an identity provider has signed in."""

import os
from collections.abc import Mapping
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.items.settings")
django = get_asgi_application()  # Models can be imported from here on.

from django.contrib.auth.models import User  # noqa: E402
from starlette.routing import Router  # noqa: E402

from app.authentication.django_sessions import DjangoSessions  # noqa: E402
from app.authentication.jwt import JWTSessions  # noqa: E402
from app.server import LiveGraphQL  # noqa: E402
from app.viewer import InvalidCredentialError, Session, Viewer  # noqa: E402
from tests.authentication.provider import AUDIENCE, ISSUER  # noqa: E402
from tests.items.schema import schema  # noqa: E402


async def session_of(claims: Mapping[str, Any]) -> Session:
    """Return the session of the user of that name. Raise InvalidCredentialError."""
    user = await User.objects.filter(username=claims["sub"], is_active=True).afirst()
    if user is None:
        raise InvalidCredentialError("There is no such user here.")
    return Session(Viewer(user.pk), user.pk)


server = LiveGraphQL(
    schema,
    authenticate=JWTSessions(
        jwks_url=os.environ["JWKS_URL"],
        issuer=ISSUER,
        audience=AUDIENCE,
        session=session_of,
        otherwise=DjangoSessions(),
    ),
)
application = Router(
    [*server.graphql(), *server.health(), *server.metrics(), *server.django(django)],
    lifespan=server.lifespan,
)
