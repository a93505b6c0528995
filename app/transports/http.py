"""GraphQL over HTTP: negotiate, read the request, run it, answer.

https://graphql.github.io/graphql-over-http/draft/
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from ariadne.asgi.handlers import GraphQLHTTPHandler
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..database.fairness import CONSUMER
from ..graphql.budgets import consumer_of
from ..graphql.engine import Engine
from ..graphql.errors import (
    BadUserInputError,
    InvalidDocumentError,
    LimitError,
    TooManyConnectionsError,
    TooManyOperationsError,
    UnauthenticatedError,
    describe,
)
from ..graphql.limits import Limits
from ..graphql.preparation import Operation
from ..graphql.request import GraphQLRequest, RequestError, decode
from ..log_context import enter_connection
from ..origin import is_host_allowed
from ..tracing import Link, OperationSpan
from ..viewer import CHALLENGE, Credentials, InvalidCredentialError, Session, UnknownViewerError
from .clients import Clients
from .connection import CLOSE_TIMEOUT_SECONDS, Connection, server_transport
from .http_errors import OTHER_METHODS, UPLOADS, HTTPError
from .media_types import EVENT_STREAM, GRAPHQL_JSON, HTML, JSON, preferred_media_type
from .sse import EventStream, single_event, until_disconnected

logger = logging.getLogger(__name__)

DOCUMENT_PARAMETERS = {"query", "documentId", "doc_id", "extensions"}
"""Without any of these, the address is opened by a browser."""

PART_BYTES = 64 * 1024
"""A server waits until the client has read one part before it takes the next."""


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
        enter_connection()
        with ExitStack() as running:
            try:
                answer = await self._answer(request, receive, send, running)
            except ClientDisconnect:
                return
            except asyncio.CancelledError:
                if not self._clients.is_stopping:
                    raise
                # The server's patience is over; uvicorn would log a traceback.
                answer = Response("The server stops.", 503, {"Connection": "close"})
            except HTTPError as error:
                answer = Response(error.body(), error.status, error.headers, JSON)
            except TooManyOperationsError as error:
                body = f'{{"errors":{describe(error)}}}'
                answer = Response(body, 429, {"Retry-After": "1"}, JSON)
            if answer is not None:
                # What somebody may see is for nobody else's cache.
                answer.headers.setdefault("Cache-Control", "no-store")
                answer.headers["X-Content-Type-Options"] = "nosniff"
                await self._send(answer, request, send)

    async def _answer(
        self, request: Request, receive: Receive, send: Send, running: ExitStack
    ) -> Response | None:
        if request.method not in ("GET", "POST", "HEAD"):
            raise HTTPError(405, OTHER_METHODS, {"Allow": "GET, POST"})
        if not is_host_allowed(request.headers):
            raise HTTPError(400, "This host is not served here: it is not in ALLOWED_HOSTS.")
        media_type = _preferred_media_type(request)
        if media_type == HTML:
            if self._playground and (page := self._playground(request)) is not None:
                return page
            media_type = JSON
        address = request.client.host if request.client else "?"
        CONSUMER.set(consumer_of(None, address))
        graphql_request = await self._read(request)
        credentials = Credentials(request.headers, address)
        session = await self._session(credentials)
        account = self._engine.budgets.account(consumer_of(session, address))
        CONSUMER.set(account.consumer)
        running.enter_context(account.operation(graphql_request.size))
        span = running.enter_context(OperationSpan(graphql_request.trace, request.headers))
        try:
            operation = await self._prepare(graphql_request, request.method, media_type, span)
        except InvalidDocumentError as error:
            body = f'{{"errors":{describe(error)}}}'
            if media_type == EVENT_STREAM:
                return _single_event(body)
            return Response(body, 400 if media_type == GRAPHQL_JSON else 200, media_type=media_type)
        if media_type == EVENT_STREAM and operation.is_subscription:
            if request.method == "HEAD":
                return Response(media_type=EVENT_STREAM)
            running.close()  # Another limit is there for connections.
            connection = Connection(receive, send, credentials, session, account)
            return await self._stream(operation, connection, receive, send, span.link)
        text, is_executed = await self._engine.execute(operation, session.viewer, account)
        running.enter_context(account.unread(len(text)))
        if media_type == EVENT_STREAM:
            return _single_event(text)
        status = 400 if not is_executed and media_type == GRAPHQL_JSON else 200
        return Response(text, status, media_type=media_type)

    async def _send(self, answer: Response, request: Request, send: Send) -> None:
        """Send an answer, in parts if it is long, and cut off a client that does not read it."""
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                if len(answer.body) <= PART_BYTES:
                    await answer(request.scope, request.receive, send)
                    return
                start = {"type": "http.response.start", "status": answer.status_code}
                await send({**start, "headers": answer.raw_headers})
                for begin in range(0, len(answer.body), PART_BYTES):
                    part = bytes(answer.body[begin : begin + PART_BYTES])
                    more = begin + PART_BYTES < len(answer.body)
                    await send({"type": "http.response.body", "body": part, "more_body": more})
        except TimeoutError:
            peer = "{}:{}".format(*(request.client or ("?", "?")))
            logger.info("Answer to %s is not being read: cut", peer)
            if (transport := server_transport(request.receive)) is not None:
                transport.abort()
                # uvicorn complains of who returns before a connection that was cut is gone.
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                        await until_disconnected(request.receive)

    async def _read(self, request: Request) -> GraphQLRequest:
        limit = self._limits.max_message_bytes
        try:
            if request.method != "POST":
                if len(request.scope["query_string"]) > limit:
                    raise HTTPError(414, f"The query string may have {limit} bytes at most.")
                async with self._engine.preparation.steps.one():
                    return _from_query_string(request)
            _check_content_type(request)
            body = await _body(request, limit)
            async with self._engine.preparation.steps.one():
                return GraphQLRequest.from_json(decode(body), len(body))
        except RequestError as error:
            raise HTTPError(400, str(error), code=error.code) from None

    async def _prepare(
        self, request: GraphQLRequest, method: str, media_type: str, span: OperationSpan
    ) -> Operation:
        try:
            operation = await self._engine.preparation.prepare(request)
            _check_transport(operation, method, media_type)
        except (InvalidDocumentError, HTTPError) as error:
            span.fail(error)
            raise
        span.describe(operation.type.value, operation.name, operation.traced_document)
        return operation

    async def _session(self, credentials: Credentials) -> Session:
        try:
            return await self._clients.authentication.session(credentials)
        except InvalidCredentialError as error:
            headers = CHALLENGE | error.headers
            raise HTTPError(401, str(error), headers, UnauthenticatedError.code) from None
        except UnknownViewerError as error:
            raise HTTPError(503, str(error), {"Retry-After": "5"}) from None

    async def _stream(
        self,
        operation: Operation,
        connection: Connection,
        receive: Receive,
        send: Send,
        link: Link | None,
    ) -> Response | None:
        if (refusal := self._clients.refusal) is not None:
            logger.warning("Event stream refused: %s", refusal)
            raise HTTPError(503, refusal, {"Retry-After": "5"})
        account = connection.account
        try:
            account.check_connections()
        except TooManyConnectionsError as error:
            raise HTTPError(429, str(error), {"Retry-After": "5"}) from None
        stream = EventStream(self._engine, self._limits, self._clients, connection)
        self._clients.add(stream)
        account.connections += 1
        try:
            await stream.run(operation, receive, send, link)
        except LimitError as error:
            return _single_event(f'{{"errors":{describe(error)}}}')
        finally:
            account.connections -= 1
            self._clients.discard(stream)
        return None


def _preferred_media_type(request: Request) -> str:
    offered = [JSON, GRAPHQL_JSON, EVENT_STREAM]
    if request.method != "POST" and DOCUMENT_PARAMETERS.isdisjoint(request.query_params):
        offered.append(HTML)
    try:
        chosen = preferred_media_type(request.headers.get("accept", ""), offered)
    except ValueError as error:
        raise HTTPError(406, str(error)) from None
    if chosen is None:
        raise HTTPError(406, f"Accept one of: {', '.join(offered[:3])}.")
    return chosen


def _check_transport(operation: Operation, method: str, media_type: str) -> None:
    """Raise HTTPError and InvalidDocumentError for what must come in another way."""
    if operation.type is OperationType.MUTATION and method != "POST":
        raise HTTPError(405, "A mutation must be sent by POST.", {"Allow": "POST"})
    if operation.is_subscription and media_type != EVENT_STREAM:
        message = f"Subscriptions need a WebSocket, or {EVENT_STREAM} in the Accept header."
        raise InvalidDocumentError([BadUserInputError(message)])


def _check_content_type(request: Request) -> None:
    """Raise HTTPError for forms, which a foreign page can send with cookies, and all but JSON."""
    content_type = request.headers.get("content-type", "").lower().replace(" ", "")
    if content_type.startswith("multipart/form-data"):
        raise HTTPError(415, UPLOADS, code="UPLOADS_NOT_SUPPORTED")
    if content_type not in (JSON, f"{JSON};charset=utf-8", f'{JSON};charset="utf-8"'):
        came = content_type or "none"
        raise HTTPError(415, f"The content type must be {JSON} in UTF-8, but {came} came.")


def _from_query_string(request: Request) -> GraphQLRequest:
    parameters: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = decode(parameters[name]) if parameters[name] else None
    return GraphQLRequest.from_json(parameters, len(request.scope["query_string"]))


async def _body(request: Request, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            message = f"The request's body may have {limit} bytes at most."
            raise HTTPError(413, message, {"Connection": "close"})  # Do not read the rest.
    return b"".join(chunks)


def _single_event(result: str) -> Response:
    return Response(
        single_event(result.encode()),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store"},
    )
