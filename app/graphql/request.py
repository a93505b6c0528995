"""A GraphQL request as it comes in, on whatever transport."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Any, NoReturn, Self

from ..exceptions import LiveError
from ..tracing import carried_by

# Below it, neither Python nor PostgreSQL runs out of stack, on any version.
MAX_JSON_DEPTH = 64
# Each takes up to fifty times the memory of its two brackets.
MAX_JSON_PARTS = 5000
NO_DOCUMENT = (
    'A request has a GraphQL document in "query", or names one by "documentId" or '
    '"extensions.persistedQuery", but none of these came.'
)
BATCHING = (
    "Batching is not supported: send each operation in a request of its own (with Apollo, by "
    "HttpLink instead of BatchHttpLink), or over a WebSocket."
)
_NO_TRACE: Mapping[str, str] = MappingProxyType({})
_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_BRACKET = re.compile(r"[\[\]{}]")


class RequestError(LiveError):
    """The request is not one of GraphQL; the message says what was expected and what came."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/)."""

    query: str | None
    """None if the document is only named."""
    document_id: str | None
    """Of a trusted document: `documentId`, or `doc_id` as Relay has it."""
    persisted_query: dict[str, Any] | None
    """`extensions.persistedQuery`, as it came."""
    operation_name: str | None
    variables: dict[str, Any]
    size: int
    """How many characters or bytes it took, all together."""
    trace: Mapping[str, str] = field(default_factory=lambda: _NO_TRACE)
    """The W3C trace context of its `extensions`, by header names."""

    @classmethod
    def from_json(cls, value: object, size: int) -> Self:
        """Check a decoded request. Raises RequestError."""
        if isinstance(value, list):
            raise RequestError(BATCHING, "BATCHING_NOT_SUPPORTED")
        if not isinstance(value, dict):
            raise RequestError(f"A request is a JSON object, but {_kind(value)} came.")
        query = _text(value, "query")
        document_id = _text(value, "documentId") or _text(value, "doc_id")
        operation_name = _text(value, "operationName")
        variables = _object(value, "variables")
        extensions = _object(value, "extensions") or {}
        persisted_query = _object(extensions, "persistedQuery")
        if document_id is None and persisted_query is None:
            if query is None:
                raise RequestError(NO_DOCUMENT)
        else:
            query = query or None  # graphql-ws insists on sending text.
        return cls(
            query,
            document_id,
            persisted_query,
            operation_name or None,
            variables or {},
            size,
            carried_by(extensions) if extensions else _NO_TRACE,
        )


def decode(text: str | bytes) -> Any:
    """Parse JSON that a client has sent. Raises RequestError, whatever is wrong with it."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        # Counting brackets is quick, and nearly always enough; those in texts count, too.
        if text.count("[") + text.count("{") > MAX_JSON_DEPTH:
            _check_brackets(_TEXT.sub("", text))
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except ValueError as error:
        raise RequestError(f"Not valid JSON in UTF-8: {error}") from None


def encode(value: object) -> str:
    """Write JSON in ASCII: whatever a client sent can be sent back, lone surrogates included."""
    return json.dumps(value, separators=(",", ":"))


def _text(value: dict[str, Any], name: str) -> str | None:
    text = value.get(name)
    if not isinstance(text, str | None):
        raise RequestError(f'"{name}" must be text, but {_kind(text)} came.')
    return text


def _object(value: dict[str, Any], name: str) -> dict[str, Any] | None:
    child = value.get(name)
    if not isinstance(child, dict | None):
        raise RequestError(f'"{name}" must be an object, but {_kind(child)} came.')
    return child


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse(text)


def _check_brackets(bare: str) -> None:
    """Raise RequestError for JSON, without its texts, that is too deep or has too many parts."""
    if bare.count("[") + bare.count("{") > MAX_JSON_PARTS:
        raise RequestError(f"JSON may have {MAX_JSON_PARTS} objects and lists at most.")
    depth = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise RequestError(f"JSON may be nested {MAX_JSON_DEPTH} levels deep at most.")


_KINDS = {
    dict: "an object",
    list: "a list",
    str: "an empty text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}


def _kind(value: object) -> str:
    return "text" if isinstance(value, str) and value else _KINDS.get(type(value), "something else")
