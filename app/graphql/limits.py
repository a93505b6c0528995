"""How much a client may ask for; beyond it comes a clear error."""

from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

from django.conf import settings

T = TypeVar("T")


def read_settings(kind: type[T], prefix: str) -> T:
    """Make a dataclass of settings: each field is the prefix + `_` + its name in capitals."""
    named: Any = kind
    return kind(**{f.name: getattr(settings, f"{prefix}_{f.name.upper()}") for f in fields(named)})


@dataclass(frozen=True, slots=True)
class Limits:
    """Each field is the setting `GRAPHQL_` + its name in capitals."""

    max_message_bytes: int
    """Of a request's body, a URL's query string, or a WebSocket message."""
    max_document_characters: int
    max_document_tokens: int
    max_document_depth: int
    """Nested selections, those in fragments included."""
    max_document_fields: int
    """Fields selected, each spread of a fragment counted anew: bounds what aliases multiply."""
    max_result_fields: int
    """Fields of a result, those below a list as often as its argument `first` says."""
    max_result_bytes: int
    """Of an encoded result. Names count before it is there, and all when it is encoded."""
    max_cached_documents: int
    introspection: bool
    """Whether clients may ask what the schema is."""
    trusted_documents: str
    """The path of the file that has all documents that may be asked for; empty: any may be."""
    max_connections: int
    """WebSockets and event streams open in one process."""
    max_connections_per_viewer: int
    """The same of one viewer or, of those who are not signed in, of one address."""
    max_sources: int
    """Running in one process: equal subscriptions of equal viewers share one."""
    max_subscriptions_per_viewer: int
    """Different ones in one process, whatever they are asked over."""
    max_cost_per_viewer: int
    """Fields in the results of all these together, as `max_result_fields` counts them."""
    max_operations: int
    """Queries, mutations and subscriptions running at once on one WebSocket."""
    max_operations_per_viewer: int
    """Queries and mutations running at once in one process, whatever they are asked over."""
    connection_init_seconds: float
    ping_seconds: float
    """Between the server's pings or keep-alive comments."""
    pong_seconds: float
    """How long a pong may take."""
    send_seconds: float
    """How long a client may leave what is sent to it unread."""

    @classmethod
    def from_settings(cls) -> Self:
        """The limits that Django's settings give."""
        return read_settings(cls, "GRAPHQL")
