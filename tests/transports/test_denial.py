"""A handshake is refused with a status and a reason, or at least refused."""

from typing import Any

import pytest

from app.transports.denial import deny

EXTENSION: dict[str, Any] = {"websocket.http.response": {}}


async def receive() -> Any:
    """The client's handshake."""
    return {"type": "websocket.connect"}


@pytest.mark.parametrize("status", [403, 503])
async def test_server_that_can_answer_tells_status_and_reason(status: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "extensions": EXTENSION}
    await deny(scope, receive, send, status, "Not you.")
    start, *bodies = sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert b"".join(body["body"] for body in bodies) == b"Not you."
    assert {body["type"] for body in bodies} == {"websocket.http.response.body"}


@pytest.mark.parametrize("extensions", [{}, {"extensions": {}}, {"extensions": {"tls": {}}}])
async def test_server_that_cannot_answer_closes(extensions: dict[str, Any]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await deny({"type": "websocket"} | extensions, receive, send, 503, "Not you.")
    assert [message["type"] for message in sent] == ["websocket.close"]
