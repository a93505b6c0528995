"""Tell how long lists will be before they are there."""

from collections.abc import Sequence

from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    VariableValues,
    get_argument_values,
    get_nullable_type,
    is_abstract_type,
    is_list_type,
)
from graphql.utilities.coerce_input_value import coerce_default_value

# Of a list whose length neither the client nor the schema tells.
ASSUMED_LIST_LENGTH = 5

# Introspection reads each type, field, argument ... of the schema by way of these, once.
READS_EACH = {
    "__schema", "types", "directives", "fields", "inputFields", "enumValues", "args",
}  # fmt: skip


class ListLengths:
    """How long the lists of a schema are, as far as anybody can know beforehand."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._introspection = {
            key: (sum(lengths) / len(lengths), max(lengths))
            for key, lengths in _introspection_lengths(schema).items()
            if lengths
        }

    def of(
        self,
        parent: str,
        field: GraphQLField,
        node: FieldNode,
        values: VariableValues,
        *,
        each: bool,
    ) -> float:
        """How often what is selected below a field counts.

        That is what its argument `first` says. The lists of introspection count as long as they
        are on average where they are read of `each` type or field, else as the longest.
        """
        if (argument := field.args.get("first")) is not None:
            first = get_argument_values(field, node, values).get("first")
            if first is None and argument.default is not None:  # null, which asks for no number
                first = coerce_default_value(argument)
            return max(1, first) if isinstance(first, int) else ASSUMED_LIST_LENGTH
        if (lengths := self._introspection.get((parent, node.name.value))) is not None:
            return lengths[0] if each else lengths[1]
        return ASSUMED_LIST_LENGTH if is_list_type(get_nullable_type(field.type)) else 1


def _introspection_lengths(schema: GraphQLSchema) -> dict[tuple[str, str], list[int]]:
    types, directives = list(schema.type_map.values()), list(schema.directives)
    fields = [field for type_ in types for field in _fields(type_)]
    inputs = [type_ for type_ in types if isinstance(type_, GraphQLInputObjectType)]
    enums = [type_ for type_ in types if isinstance(type_, GraphQLEnumType)]
    rest = [0] * len(types)
    return {
        ("__Schema", "types"): [len(types)],
        ("__Schema", "directives"): [len(directives)],
        ("__Type", "fields"): [len(_fields(type_)) for type_ in types],
        ("__Type", "inputFields"): [len(each.fields) for each in inputs] + rest[len(inputs) :],
        ("__Type", "enumValues"): [len(each.values) for each in enums] + rest[len(enums) :],
        ("__Type", "interfaces"): [len(getattr(type_, "interfaces", ())) for type_ in types],
        ("__Type", "possibleTypes"): [
            len(schema.get_possible_types(type_)) if is_abstract_type(type_) else 0
            for type_ in types
        ],
        ("__Field", "args"): [len(field.args) for field in fields],
        ("__Directive", "args"): [len(directive.args) for directive in directives],
    }


def _fields(type_: GraphQLNamedType) -> Sequence[GraphQLField]:
    if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
        return list(type_.fields.values())
    return ()
