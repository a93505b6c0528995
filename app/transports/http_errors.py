"""An HTTP request that is refused before GraphQL looks at it, and the code that says why."""

from ..exceptions import LiveError
from ..graphql.errors import TooManyConnectionsError
from ..graphql.request import encode
from .media_types import JSON

CODES = {
    400: "BAD_REQUEST",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    413: "CONTENT_TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: TooManyConnectionsError.code,
    503: "SERVICE_UNAVAILABLE",
}
"""The `extensions.code` of a status, unless an error has one of its own."""

UPLOADS = (
    f"Files are not uploaded by GraphQL here: send {JSON}, and files to an address of their own."
)
OTHER_METHODS = (
    "Use GET or POST. Each event stream is a connection of its own: graphql-sse needs "
    "singleConnection: false, its default."
)


class HTTPError(LiveError):
    """A request that is refused before GraphQL looks at it."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: dict[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.code = code or CODES[status]

    def body(self) -> str:
        """The errors, as the body of the answer."""
        return encode({"errors": [{"message": str(self), "extensions": {"code": self.code}}]})
