"""GraphQL over HTTP: negotiate, read the request, run it, answer.

https://graphql.github.io/graphql-over-http/draft/
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ariadne.asgi.handlers import GraphQLHTTPHandler
from django.db import Error as DatabaseError
from django.http import HttpRequest
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.graphql.documents import InvalidDocumentError
from app.graphql.engine import Engine, Operation, describe
from app.graphql.errors import BadUserInputError, TooManySubscriptionsError
from app.graphql.link import Link
from app.graphql.origin import is_host_allowed
from app.graphql.request import GraphQLRequest, RequestError, decode, encode
from app.graphql.sse import EventStream, single_event
from app.graphql.viewer import Viewer, session_key

logger = logging.getLogger(__name__)

T = TypeVar("T")

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
MOST_ACCEPT_CHARACTERS = 1000
HTML = "text/html"
OTHER_PARAMETER = re.compile(r";(?!\s*q\s*=)[^;,]*", re.IGNORECASE)


class HTTPError(Exception):
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
        self, engine: Engine, playground: Callable[[Request], Response | None] | None = None
    ) -> None:
        super().__init__()
        self._engine = engine
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
            link = Link(receive, await _identified(self._engine.session_for(key)))
            return await self._stream(operation, link, receive, send)
        viewer = await _identified(self._engine.viewer_for(key))
        return await self._execute(operation, viewer, media_type)

    async def _read(self, request: Request) -> GraphQLRequest:
        limit = self._engine.limits.max_message_bytes
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
        self, operation: Operation, link: Link, receive: Receive, send: Send
    ) -> Response | None:
        connections = self._engine.connections
        if (refusal := connections.refusal) is not None:
            logger.warning("Event stream refused: %s", refusal)
            raise HTTPError(503, refusal, {"Retry-After": "5"})
        stream = EventStream(self._engine, link)
        connections.add(stream)
        try:
            await stream.run(operation, receive, send)
        except TooManySubscriptionsError as error:
            return _single_event(f'{{"errors":{describe(error)}}}')
        finally:
            connections.discard(stream)
        return None


def _preferred_media_type(request: Request) -> str:
    # Django reads the header with its ranges and weights (RFC 9110, section 12.5.1), but takes
    # other parameters, which clients like to add, for part of the type.
    django_request = HttpRequest()
    accept = request.headers.get("accept") or "*/*"
    if len(accept) > MOST_ACCEPT_CHARACTERS:
        # Reading it takes time that grows with the square of its length.
        raise HTTPError(406, f"The Accept header may have {MOST_ACCEPT_CHARACTERS} characters.")
    accept = OTHER_PARAMETER.sub("", accept)
    django_request.META["HTTP_ACCEPT"] = accept
    offered = [JSON, GRAPHQL_JSON, EVENT_STREAM]
    if request.method != "POST" and "query" not in request.query_params:
        offered.append(HTML)
    chosen: str | None = django_request.get_preferred_type(offered)
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
