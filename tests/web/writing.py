"""An application that writes as many texts as it is asked for, past `send`."""

from typing import Any

from starlette.responses import PlainTextResponse

from app.transports.websocket import EXTENSION


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Take how long and how many, and tell at the end how many could not be written."""
    if scope["type"] == "http":
        await PlainTextResponse("ready")(scope, receive, send)
    if scope["type"] != "websocket":
        return
    write = scope["extensions"][EXTENSION]["write"]
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        size, many = map(int, event["text"].split())
        texts = (f"{number:0{size}}"[:size].encode() for number in range(many))
        # In parts, of which each may be empty.
        written = [write(text[:10], text[10:]) for text in texts]
        told = f"{written.count(0)} of {many} were not written"
        await send({"type": "websocket.send", "text": told})
