"""Keep an execution from taking more time, and a subscription more memory, than it is worth."""

from typing import Any

from graphql import Executor

from ..exceptions import LiveError

MAX_ERRORS = 200
"""A field that fails costs as much as ten others."""


class TooManyErrorsError(LiveError):
    """More than `MAX_ERRORS` fields have failed."""


class BoundedExecutor(Executor[Any]):
    """graphql-core's executor; raises TooManyErrorsError, where that would go on."""

    def handle_field_error(self, raw_error: Exception, *args: Any) -> None:
        """Collect the error of a field, unless there are too many."""
        if isinstance(raw_error, TooManyErrorsError):
            raise raw_error
        if len(self.collected_errors.errors) >= MAX_ERRORS:
            raise TooManyErrorsError
        super().handle_field_error(raw_error, *args)

    def build_per_event_executor(self, payload: Any) -> Executor[Any]:
        """Return the executor of one event, with all that it remembers of fields its own.

        Events of graphql-core 3.3 share it, but look it up by the identity of lists that each event
        makes anew, so that nothing is found again, and a subscription grows with every event.
        """
        executor = super().build_per_event_executor(payload)
        executor._relevant_sub_fields = {}
        return executor
