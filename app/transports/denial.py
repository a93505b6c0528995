"""Refuse a WebSocket's handshake, and say why."""

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket


async def deny(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    """Answer with an HTTP status other than 101, or just close where the server cannot do that.

    https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
    """
    websocket = WebSocket(scope, receive, send)
    if "websocket.http.response" in scope.get("extensions", {}):
        await websocket.send_denial_response(PlainTextResponse(reason, status))
    else:
        await websocket.close()
