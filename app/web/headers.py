"""Keep every answer to this site, whoever has made it."""

from django.conf import settings
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .pages import security_headers

POLICY = b"content-security-policy"


class SecurityHeaders:
    """Adds `security_headers` to an application's answers, where they have none of that name.

    Under DEBUG, errors get no policy: Django's pages for them bring scripts and styles inline.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [
            (name.lower().encode(), value.encode()) for name, value in security_headers().items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""

        async def send_with_them(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._completed(message)}
            await send(message)

        await self._app(scope, receive, send_with_them)

    def _completed(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers = list(message.get("headers", ()))
        names = {name.lower() for name, _ in headers}  # Django's are not in small letters.
        if settings.DEBUG and message["status"] >= 400:
            names.add(POLICY)
        return [*headers, *(each for each in self._headers if each[0] not in names)]
