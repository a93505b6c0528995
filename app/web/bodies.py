"""Refuse large request bodies, which Django writes to the disk before it looks at them."""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 in the application's place to requests of more than `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse as soon as the request is known to be too large."""
        left = self._max_bytes

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            # Nothing has been answered yet: the application waits for the rest.
            return message if left >= 0 else {"type": "http.disconnect"}

        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_bytes:
            left = -1
        else:
            await self._app(scope, receive_some, send)
        if left < 0:
            headers = {"Connection": "close"}  # Do not read the rest.
            message = f"A request may have {self._max_bytes} bytes at most: HTTP_MAX_BODY_BYTES."
            await PlainTextResponse(message, 413, headers)(scope, receive, send)
