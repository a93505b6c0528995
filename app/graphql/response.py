"""Write results as clients get them, and none that is longer than it may be."""

from typing import Any, NamedTuple

from graphql import ExecutionResult

from .errors import TooLargeError, format_error
from .request import encode


class Response(NamedTuple):
    """An encoded response of GraphQL."""

    text: str
    is_executed: bool = True
    """Whether there is something under `data`, null included; otherwise only errors."""


def respond(result: ExecutionResult, max_bytes: int) -> Response:
    """Encode a result. Raise TooLargeError."""
    errors = [format_error(error) for error in result.errors or ()]
    is_request_error = result.data is None and all(
        error.path is None for error in result.errors or ()
    )
    body: dict[str, Any] = {"errors": errors} if errors else {}
    is_executed = not errors or not is_request_error
    if is_executed:
        body["data"] = result.data
    # Texts may be long, and escaped they are longer: look at them before they are copied.
    if _exceeds(body, max_bytes) or len(text := encode(body)) > max_bytes:
        raise TooLargeError(
            f"The result is longer than {max_bytes} bytes: ask for fewer fields, or shorter lists."
        )
    return Response(text, is_executed)


def error_response(error: TooLargeError) -> str:
    """Encode the response of an operation that was executed, and whose result cannot be sent."""
    return encode({"errors": [format_error(error)], "data": None})


def _exceeds(value: dict[str, Any], max_bytes: int) -> bool:
    """Whether the names and texts in a response are longer already."""
    length = 0
    rest: list[Any] = [value]
    while rest and length <= max_bytes:
        container = rest.pop()
        if isinstance(container, dict):
            length += sum(map(len, container))
            children = container.values()
        else:
            children = container
        for child in children:
            if isinstance(child, str):
                length += len(child)
            elif isinstance(child, (dict, list)):
                rest.append(child)
    return length > max_bytes
