"""No answer is longer than it may be, and none is put together to find that out."""

import tracemalloc

import pytest
from graphql import ExecutionResult, GraphQLError
from hypothesis import given, settings
from hypothesis import strategies as st

from app.graphql.errors import TooLargeError
from app.graphql.request import encode
from app.graphql.response import error_response, respond

pytestmark = pytest.mark.once

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@settings(max_examples=30)
@given(data=st.dictionaries(st.text(), VALUES), spare=st.integers(-3, 3))
def test_the_limit_is_that_of_the_encoded_response(data: dict[str, object], spare: int) -> None:
    length = len(encode({"data": data}))
    if spare < 0:
        with pytest.raises(TooLargeError, match=f"longer than {length + spare} bytes"):
            respond(ExecutionResult(data), length + spare)
    else:
        assert respond(ExecutionResult(data), length + spare).text == encode({"data": data})


def test_a_huge_result_is_not_encoded_first() -> None:
    text = "x" * 1_000_000
    data = {f"field{number}": [text] * 100 for number in range(10)}
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            respond(ExecutionResult(data), 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_errors_count_as_well() -> None:
    error = GraphQLError("no", path=["x" * 1000])
    with pytest.raises(TooLargeError):
        respond(ExecutionResult({"a": None}, [error] * 10), 10_000)


def test_the_client_is_told_of_the_limit() -> None:
    text = error_response(TooLargeError("The result is too long."))
    assert text == encode(
        {
            "errors": [
                {"message": "The result is too long.", "extensions": {"code": "RESULT_TOO_LARGE"}}
            ],
            "data": None,
        }
    )
