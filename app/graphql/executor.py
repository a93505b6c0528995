"""Give up an execution in which very many fields fail: each failure costs as much as ten fields."""

from typing import Any

from graphql import Executor

from ..exceptions import LiveError

MAX_ERRORS = 200


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
