"""A GraphQL request as it comes in, on whatever transport."""

import json
from dataclasses import dataclass
from typing import Any, NoReturn, Self


class RequestError(Exception):
    """The request is not one of GraphQL; the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/)."""

    query: str
    operation_name: str | None
    variables: dict[str, Any]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Check a decoded request. Raises RequestError."""
        if not isinstance(value, dict):
            raise RequestError(f"A request is a JSON object, but {_kind(value)} came.")
        query = value.get("query")
        if not isinstance(query, str) or not query.strip():
            raise RequestError(f'"query" must be a GraphQL document, but {_kind(query)} came.')
        operation_name = value.get("operationName")
        if not isinstance(operation_name, str | None):
            raise RequestError(f'"operationName" must be text, but {_kind(operation_name)} came.')
        variables = value.get("variables")
        if not isinstance(variables, dict | None):
            raise RequestError(f'"variables" must be an object, but {_kind(variables)} came.')
        extensions = value.get("extensions")
        if not isinstance(extensions, dict | None):
            raise RequestError(f'"extensions" must be an object, but {_kind(extensions)} came.')
        return cls(query, operation_name or None, variables or {})


def decode(text: str | bytes) -> Any:
    """Parse JSON that a client has sent. Raises RequestError, whatever is wrong with it."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"Not valid JSON in UTF-8: {error}") from None


def encode(value: object) -> str:
    """Write JSON in ASCII: whatever a client sent can be sent back, lone surrogates included."""
    return json.dumps(value, separators=(",", ":"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


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
