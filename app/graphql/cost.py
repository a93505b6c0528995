"""Estimate how many fields a result will have, before anything is executed."""

from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableValues,
    get_argument_values,
    get_named_type,
    get_nullable_type,
    get_variable_values,
    is_list_type,
    type_from_ast,
)
from graphql.utilities.coerce_input_value import coerce_default_value

# Of a list whose length the client does not choose, as those of introspection.
USUAL_LENGTH = 5


def cost(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
) -> int:
    """The fields of a valid operation, those below a list as often as its argument `first` says.

    Each alias and each spread of a fragment counts anew, and what `@skip` leaves out counts, too.
    """
    values = get_variable_values(schema, operation.variable_definitions or (), variables)
    if isinstance(values, list):
        return 0  # Executing it will only tell what is wrong with them.
    root = schema.get_root_type(operation.operation)
    return _Counter(schema, document, values).count(operation.selection_set, root)


class _Counter:
    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, values: VariableValues
    ) -> None:
        self._schema = schema
        self._values = values
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._counted: dict[str, int] = {}

    def count(self, selections: SelectionSetNode, parent: Any) -> int:
        return sum(self._count_one(node, parent) for node in selections.selections)

    def _count_one(self, node: SelectionNode, parent: Any) -> int:
        match node:
            case FieldNode(selection_set=SelectionSetNode() as nested):
                field = self._schema.get_field(parent, node.name.value)
                assert field is not None  # noqa: S101 - the document is valid
                below = self.count(nested, get_named_type(field.type))
                return 1 + self._times(field, node) * below
            case InlineFragmentNode(type_condition=condition):
                here = type_from_ast(self._schema, condition) if condition else parent
                return self.count(node.selection_set, here)
            case FragmentSpreadNode():
                return self._count_fragment(node.name.value)
        return 1

    def _count_fragment(self, name: str) -> int:
        if name not in self._counted:
            fragment = self._fragments[name]
            parent = type_from_ast(self._schema, fragment.type_condition)
            self._counted[name] = self.count(fragment.selection_set, parent)
        return self._counted[name]

    def _times(self, field: GraphQLField, node: FieldNode) -> int:
        if (argument := field.args.get("first")) is not None:
            first = get_argument_values(field, node, self._values).get("first")
            if first is None and argument.default is not None:  # null, which asks for no number
                first = coerce_default_value(argument)
            return max(1, first) if isinstance(first, int) else USUAL_LENGTH
        return USUAL_LENGTH if is_list_type(get_nullable_type(field.type)) else 1
