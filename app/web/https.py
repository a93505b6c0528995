"""Keep to HTTPS what Django's SecurityMiddleware does not see: GraphQL, pages and static files."""

import re

from django.conf import settings
from starlette.datastructures import URL, Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..origin import is_host_allowed
from ..transports.denial import deny
from .pages import security_headers

HSTS = b"strict-transport-security"
REFUSAL = "This is served over HTTPS only."


class HTTPSOnly:
    """Does to a whole application what Django's settings `SECURE_…` say of Django's views.

    Pages are redirected. What else comes unencrypted is refused, since a client that was redirected
    would go on sending its cookies unencrypted first.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._exempt = [re.compile(pattern) for pattern in settings.SECURE_REDIRECT_EXEMPT]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, redirect or refuse."""
        if scope["type"] == "lifespan" or self._may_be_in_clear(scope):
            await self._app(scope, receive, send)
        elif scope["scheme"] == "https":
            await self._app(scope, receive, _with_hsts(send))
        elif scope["scheme"] == "wss":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await deny(scope, receive, send, 403, REFUSAL)
        else:
            await _answer(scope)(scope, receive, send)

    def _may_be_in_clear(self, scope: Scope) -> bool:
        path = scope["path"].lstrip("/")
        return not settings.SECURE_SSL_REDIRECT or any(each.search(path) for each in self._exempt)


def _answer(scope: Scope) -> Response:
    headers = Headers(scope=scope)
    if scope["method"] not in ("GET", "HEAD") or not is_host_allowed(headers):
        return PlainTextResponse(REFUSAL, 403, security_headers())
    host = settings.SECURE_SSL_HOST or headers["host"]
    return RedirectResponse(URL(scope=scope).replace(scheme="https", netloc=host), 301)


def _with_hsts(send: Send) -> Send:
    value = f"max-age={settings.SECURE_HSTS_SECONDS}"
    value += "; includeSubDomains" if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS else ""
    value += "; preload" if settings.SECURE_HSTS_PRELOAD else ""

    async def send_with_it(message: Message) -> None:
        if message["type"] == "http.response.start" and settings.SECURE_HSTS_SECONDS:
            # Django has set it already, and its names are not in small letters.
            others = [(k, v) for k, v in message.get("headers", ()) if k.lower() != HSTS]
            message = {**message, "headers": [*others, (HSTS, value.encode())]}
        await send(message)

    return send_with_it
