"""An application that lets a request's body wait for longer than a client may take."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer how many bytes came."""
    if scope["type"] != "http":
        raise NotImplementedError
    await asyncio.sleep(1.5 if scope["method"] == "POST" else 0)
    size = len(await Request(scope, receive).body())
    await PlainTextResponse(f"{size} bytes came")(scope, receive, send)
