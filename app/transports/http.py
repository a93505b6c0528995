"""GraphQL over HTTP: negotiate, read the request, run it, answer.

https://graphql.github.io/graphql-over-http/draft/
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ariadne.asgi.handlers import GraphQLHTTPHandler
from django.db import Error as DatabaseError
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..exceptions import LiveError
from ..graphql.engine import Engine, Operation
from ..graphql.errors import (
    BadUserInputError,
    InvalidDocumentError,
    TooManySourcesError,
    describe,
)
from ..graphql.limits import Limits
from ..graphql.request import GraphQLRequest, RequestError, decode, encode
from ..origin import is_host_allowed
from ..viewer import Session, Viewer
from .clients import Clients
from .connection import Connection
from .media_types import EVENT_STREAM, GRAPHQL_JSON, HTML, JSON, preferred_media_type
from .sessions import session_key, session_of, viewer_of
from .sse import EventStream, single_event

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HTTPError(LiveError):
    """A request that is refused before GraphQL looks at it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class HTTPHandler(GraphQLHTTPHandler):
    """Queries and mutations as JSON; every operation as an event stream.

    `playground` may answer a browser that opens the address.
    """

    def __init__(
        self,
        engine: Engine,
        clients: Clients,
        limits: Limits,
        playground: Callable[[Request], Response | None] | None = None,
    ) -> None:
        super().__init__()
        self._engine = engine
        self._clients = clients
        self._limits = limits
        self._playground = playground

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request, receive, send)
        except ClientDisconnect:
            return
        except HTTPError as error:
            body = encode({"errors": [{"message": str(error)}]})
            answer = Response(body, error.status, error.headers, JSON)
        if answer is not None:
            # What somebody may see is for nobody else's cache.
            answer.headers.setdefault("Cache-Control", "no-store")
            await answer(scope, receive, send)

    async def _answer(self, request: Request, receive: Receive, send: Send) -> Response | None:
        if request.method not in ("GET", "POST", "HEAD"):
            raise HTTPError(405, "Use GET or POST.", {"Allow": "GET, POST"})
        if not is_host_allowed(request.headers):
            raise HTTPError(400, "This host is not served here: it is not in ALLOWED_HOSTS.")
        media_type = _preferred_media_type(request)
        if media_type == HTML:
            if self._playground and (page := self._playground(request)) is not None:
                return page
            media_type = JSON
        graphql_request = await self._read(request)
        try:
            operation = self._prepare(graphql_request, request.method, media_type)
        except InvalidDocumentError as error:
            body = f'{{"errors":{describe(error)}}}'
            if media_type == EVENT_STREAM:
                return _single_event(body)
            return Response(body, 400 if media_type == GRAPHQL_JSON else 200, media_type=media_type)
        key = session_key(request.headers.get("cookie", ""))
        if media_type == EVENT_STREAM and operation.is_subscription:
            if request.method == "HEAD":
                return Response(media_type=EVENT_STREAM)
            session = await _identified(session_of(key))
            return await self._stream(operation, session, receive, send)
        viewer = await _identified(viewer_of(key))
        return await self._execute(operation, viewer, media_type)

    async def _read(self, request: Request) -> GraphQLRequest:
        limit = self._limits.max_message_bytes
        try:
            if request.method != "POST":
                if len(request.scope["query_string"]) > limit:
                    raise HTTPError(414, f"The query string may have {limit} bytes at most.")
                return _from_query_string(request)
            content_type = request.headers.get("content-type", "").lower().replace(" ", "")
            if content_type not in (JSON, f"{JSON};charset=utf-8", f'{JSON};charset="utf-8"'):
                # Forms, which a foreign page can send with cookies, are refused here.
                came = content_type or "none"
                raise HTTPError(415, f"The content type must be {JSON} in UTF-8, but {came} came.")
            return GraphQLRequest.from_json(decode(await _body(request, limit)))
        except RequestError as error:
            raise HTTPError(400, str(error)) from None

    def _prepare(self, request: GraphQLRequest, method: str, media_type: str) -> Operation:
        operation = self._engine.prepare(request)
        if operation.type is OperationType.MUTATION and method != "POST":
            raise HTTPError(405, "A mutation must be sent by POST.", {"Allow": "POST"})
        if operation.is_subscription and media_type != EVENT_STREAM:
            message = f"Subscriptions need a WebSocket, or {EVENT_STREAM} in the Accept header."
            raise InvalidDocumentError([BadUserInputError(message)])
        return operation

    async def _execute(self, operation: Operation, viewer: Viewer, media_type: str) -> Response:
        result = await self._engine.execute(operation, viewer)
        if media_type == EVENT_STREAM:
            return _single_event(encode(result))
        is_request_error = "data" not in result
        status = 400 if is_request_error and media_type == GRAPHQL_JSON else 200
        return Response(encode(result), status, media_type=media_type)

    async def _stream(
        self, operation: Operation, session: Session, receive: Receive, send: Send
    ) -> Response | None:
        if (refusal := self._clients.refusal) is not None:
            logger.warning("Event stream refused: %s", refusal)
            raise HTTPError(503, refusal, {"Retry-After": "5"})
        stream = EventStream(self._engine, self._limits, Connection(receive, send, session))
        self._clients.add(stream)
        try:
            await stream.run(operation, receive, send)
        except TooManySourcesError as error:
            return _single_event(f'{{"errors":{describe(error)}}}')
        finally:
            self._clients.discard(stream)
        return None


def _preferred_media_type(request: Request) -> str:
    offered = [JSON, GRAPHQL_JSON, EVENT_STREAM]
    if request.method != "POST" and "query" not in request.query_params:
        offered.append(HTML)
    try:
        chosen = preferred_media_type(request.headers.get("accept", ""), offered)
    except ValueError as error:
        raise HTTPError(406, str(error)) from None
    if chosen is None:
        raise HTTPError(406, f"Accept one of: {', '.join(offered[:3])}.")
    return chosen


def _from_query_string(request: Request) -> GraphQLRequest:
    parameters: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = decode(parameters[name]) if parameters[name] else None
    return GraphQLRequest.from_json(parameters)


async def _body(request: Request, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            message = f"The request's body may have {limit} bytes at most."
            raise HTTPError(413, message, {"Connection": "close"})  # Do not read the rest.
    return b"".join(chunks)


async def _identified(loading: Awaitable[T]) -> T:
    try:
        return await loading
    except DatabaseError as error:
        logger.error("A request's viewer could not be loaded: %s", error)  # noqa: TRY400
        message = "The database does not answer at the moment. Try again later."
        raise HTTPError(503, message, {"Retry-After": "5"}) from None


def _single_event(result: str) -> Response:
    return Response(
        single_event(result), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"}
    )
