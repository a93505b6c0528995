"""JSON is refused before it is decoded if it would take up too much."""

import json

import pytest

from app.graphql.request import MAX_JSON_DEPTH, MAX_JSON_PARTS, RequestError, decode

pytestmark = pytest.mark.once


@pytest.mark.parametrize("part", ["{}", "[]", '{"a":1}', '["}"]'])
def test_json_has_so_many_parts_at_most(part: str) -> None:
    def parts(number: int) -> str:
        return "[" + ",".join([part] * (number - 1)) + "]"

    assert decode(parts(MAX_JSON_PARTS)) == json.loads(parts(MAX_JSON_PARTS))
    with pytest.raises(RequestError, match="5000 objects and lists at most"):
        decode(parts(MAX_JSON_PARTS + 1))


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_json_is_so_deep_at_most(begin: str, end: str) -> None:
    assert decode(begin * MAX_JSON_DEPTH + "1" + end * MAX_JSON_DEPTH)
    with pytest.raises(RequestError, match="64 levels deep at most"):
        decode(begin * (MAX_JSON_DEPTH + 1) + "1" + end * (MAX_JSON_DEPTH + 1))


@pytest.mark.parametrize("text", ["{" * 9000, "[" * 9000, '\\"[{' * 2000, "\\\\", 'a"{[' * 2000])
def test_brackets_in_texts_do_not_count(text: str) -> None:
    value = {"query": text, "variables": {"a": [text, text]}}
    assert decode(json.dumps(value)) == value


@pytest.mark.parametrize("text", ['"' + "[" * 9000, "[" * 9000, "{" * 9000, '["' + "\\" * 9000])
def test_what_is_no_json_is_told(text: str) -> None:
    with pytest.raises(RequestError):
        decode(text)
