"""What a result may cost is known before it is there."""

from typing import Any

import pytest
from graphql import (
    GraphQLSchema,
    build_schema,
    get_introspection_query,
    get_operation_ast,
    graphql_sync,
    parse,
)

from app.graphql.cost import BYTES_AROUND_FIELD, Size, result_size
from app.graphql.lengths import ListLengths
from app.graphql.request import encode
from tests.items.schema import schema as items

pytestmark = pytest.mark.once


# With what the items' has not: an interface, a union, inputs, a directive with arguments.
others = build_schema(
    """
    directive @a(b: Int, c: [In!] = []) repeatable on FIELD
    interface Node { id: ID! }
    type One implements Node { id: ID! one(in: In, more: Int): [Any!]! }
    type Two implements Node { id: ID! two: Two node(id: ID!): Node }
    union Any = One | Two
    enum Kind { A B C D }
    input In { a: Int b: In c: [Kind!] d: String = "d" }
    type Query { one: One any(kind: Kind): [Any] node(id: ID!): Node }
    """
)


def measure(text: str, schema: GraphQLSchema = items, **variables: Any) -> Size:
    """The size that is expected of the result."""
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    return result_size(schema, ListLengths(schema), document, operation, variables)


def count_fields(value: object) -> int:
    """How many fields a result has."""
    match value:
        case dict():
            return len(value) + sum(map(count_fields, value.values()))
        case list():
            return sum(map(count_fields, value))
    return 0


INTROSPECTIONS = {
    "by tools": get_introspection_query(),
    "of the names": "{ __schema { types { name fields { name } } } }",
    "of arguments": "{ __schema { types { fields { args { name type { name } } } } } }",
    "of enums": "{ __schema { types { enumValues { name } inputFields { name } } } }",
    "of directives": "{ __schema { directives { name args { name } } } }",
    "in fragments": "{ ...a } fragment a on Query { __schema { types { ...b } } } "
    "fragment b on __Type { fields { name } }",
    "with aliases": "{ a: __schema { b: types { c: fields { d: name } e: fields { f: name } } } }",
}


@pytest.mark.parametrize("name", INTROSPECTIONS)
@pytest.mark.parametrize("schema", [items, others], ids=["items", "others"])
def test_introspection_counts_at_its_real_length(name: str, schema: GraphQLSchema) -> None:
    text = INTROSPECTIONS[name]
    result = graphql_sync(schema, text)
    assert not result.errors
    size, fields = measure(text, schema), count_fields(result.data)
    # What is null, as the types in a scalar, has none, and counts all the same.
    assert fields <= size.fields <= fields * (3 if "ofType" in text else 1.5)
    assert size.bytes <= len(encode(result.data)) * 2


@pytest.mark.parametrize("schema", [items, others], ids=["items", "others"])
@pytest.mark.parametrize("path", ["type { fields", "ofType { fields", "possibleTypes { fields"])
def test_introspection_of_types_by_way_of_others_counts_as_the_longest(
    schema: GraphQLSchema, path: str
) -> None:
    longest = max(len(getattr(type_, "fields", ())) for type_ in schema.type_map.values())
    below = "fields { type {" if path.startswith("ofType") else "fields {"
    text = f'{{ __type(name: "Query") {{ {below} {path} {{ name }} }} }} }}'
    text += " }" * (text.count("{") - text.count("}"))
    if path.startswith("possibleTypes"):
        text = '{ __type(name: "Query") { possibleTypes { fields { name } } } }'
        assert measure(text, schema).fields >= 2
        return
    assert measure(text, schema).fields >= longest * longest


def test_a_name_costs_its_length_as_often_as_it_comes() -> None:
    name = "a" * 100
    own = len("items") + len("id") + 2 * BYTES_AROUND_FIELD
    assert measure("{ items(first: 1) { id } }").bytes == own
    longer = measure(f"{{ items(first: 200) {{ {name}: id }} }}").bytes
    assert longer == len("items") + BYTES_AROUND_FIELD + 200 * (100 + BYTES_AROUND_FIELD)
    by_variable = measure(f"query ($n: Int) {{ items(first: $n) {{ {name}: id }} }}", n=200)
    assert by_variable.bytes == longer


def test_a_name_in_a_fragment_costs_each_time() -> None:
    name = "a" * 1000
    once = measure(f"{{ ...f }} fragment f on Query {{ {name}: __typename }}").bytes
    thrice = measure(
        f"{{ ...f b: item(id: 1) {{ ...g ... on Item {{ ...g }} }} }} "
        f"fragment f on Query {{ {name}: __typename }} fragment g on Item {{ {name}: id }}"
    ).bytes
    assert once == 1000 + BYTES_AROUND_FIELD
    assert thrice == 3 * once + 1 + BYTES_AROUND_FIELD


def test_the_attack_of_long_names_is_refused_by_its_bytes() -> None:
    spreads = " ".join(f"s{number}: __schema {{ ...A }}" for number in range(13))
    types = " ".join(f"t{number}: types {{ fields {{ ...F }} }}" for number in range(12))
    text = (
        f"{{ {spreads} }} fragment A on __Schema {{ {types} }} "
        f"fragment F on __Field {{ {'n' * 30_500}: name }}"
    )
    size = measure(text, items)
    assert len(text) < 32 * 1024
    assert size.bytes > 200e6
