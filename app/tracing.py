"""Spans of operations and of what wakes them, where OpenTelemetry's API is installed.

As long as nobody has set a tracer provider, no span is made, and what is here does nothing.
https://opentelemetry.io/docs/specs/semconv/graphql/graphql-spans/
"""

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic, time_ns
from types import TracebackType
from typing import Any, Final, Self

try:
    from opentelemetry import context, propagate, trace
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

MAX_LINKS: Final = 10
"""So many operations at most are linked to from an execution that they share."""
CARRIED: Final = ("traceparent", "tracestate")
"""What a request's `extensions` may have of a trace: https://www.w3.org/TR/trace-context/"""
MAX_CHARACTERS: Final = 512

Link = Any
"""Of `opentelemetry.trace.SpanContext`, which need not be installed."""


def is_on() -> bool:
    """Whether somebody collects spans."""
    return IS_INSTALLED and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def carried_by(extensions: Mapping[str, Any]) -> dict[str, str]:
    """The trace that a request names in its extensions, if it does."""
    found = {name: extensions.get(name) for name in CARRIED}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and len(value) <= MAX_CHARACTERS
    }


def ids() -> tuple[str, str] | None:
    """The current trace and span, in hexadecimal digits; None outside of one."""
    if not IS_INSTALLED:
        return None
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return None
    return trace.format_trace_id(current.trace_id), trace.format_span_id(current.span_id)


class OperationSpan:
    """A context manager: within it, a client's operation begins or, if it is a query, is run.

    It belongs to the trace that the request itself names, or that somebody around the server has
    begun, or that the headers name.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, carried: Mapping[str, str], headers: Mapping[str, str]) -> None:
        self._span: Any = None
        if not is_on():
            return
        around = context.get_current()
        if carried:
            around = propagate.extract(carried, around)
        elif not trace.get_current_span().get_span_context().is_valid:
            around = propagate.extract(headers, around)
        self._span = _tracer().start_span(
            "GraphQL Operation", around, kind=trace.SpanKind.SERVER, record_exception=False
        )
        self._token: Any = None

    @property
    def link(self) -> Link | None:
        """What an execution may link to; None where no span is made."""
        return None if self._span is None else self._span.get_span_context()

    def describe(self, type_: str, name: str, document: str | None) -> None:
        """Tell what the operation is, once it is known; its document only if it may be told."""
        if self._span is None:
            return
        self._span.update_name(type_)
        self._span.set_attribute("graphql.operation.type", type_)
        if name:
            self._span.set_attribute("graphql.operation.name", name)
        if document:
            self._span.set_attribute("graphql.document", document)

    def fail(self, error: Exception) -> None:
        """Tell that the operation could not be carried out."""
        if self._span is not None:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR))
            self._span.set_attribute("error.type", getattr(error, "code", type(error).__name__))

    def __enter__(self) -> Self:
        if self._span is not None:
            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._span is None:
            return
        if isinstance(error, Exception):
            self.fail(error)
        context.detach(self._token)
        self._span.end()


class ExecutionSpan:
    """One run of a source, from its beginning until its result is encoded.

    It is a trace of its own, with links to operations that receive its result.
    """

    __slots__ = ("_span", "_task", "_token")

    def __init__(
        self,
        operation: str,
        field: str,
        links: Sequence[Link],
        tables: frozenset[str],
        woken_at: float | None,
    ) -> None:
        self._span = _tracer().start_span(
            "subscription result",
            context.Context(),
            kind=trace.SpanKind.INTERNAL,
            links=[trace.Link(each) for each in links],
        )
        span = self._span
        span.set_attribute("graphql.operation.type", "subscription")
        if operation:
            span.set_attribute("graphql.operation.name", operation)
        span.set_attribute("live.field", field)
        if woken_at is not None:
            span.set_attribute("live.woken_by", sorted(tables) or ["everything"])
            span.set_attribute("live.wait_seconds", waited := monotonic() - woken_at)
            span.add_event("woken", timestamp=time_ns() - int(waited * 1e9))
        self._task = asyncio.current_task()
        self._token = context.attach(trace.set_span_in_context(span))

    def end(self) -> None:
        """The result is there, or nothing has come of it."""
        if asyncio.current_task() is self._task:  # Else the context has ended with its task.
            context.detach(self._token)
        self._span.end()


def _tracer() -> Any:
    return trace.get_tracer(__name__)
