"""Compute what a document costs: how large it is, and how many fields its result may have."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
ASSUMED_LIST_LENGTH = 5


@dataclass(frozen=True, slots=True)
class Size:
    """How deep a selection goes, and how many fields it has when fragments are spread.

    Each alias and each spread of a fragment counts anew, and what `@skip` leaves out counts, too.
    """

    depth: int = 0
    fields: int = 0


def operation_sizes(document: DocumentNode) -> Iterator[tuple[OperationDefinitionNode, Size]]:
    """Yield each operation of a document, which need not be valid, with its size."""
    walk = _Walk(document)
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            yield node, walk.measure(node.selection_set, None)


def result_fields(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
) -> int:
    """How many fields the result of a valid operation may have.

    Those below a list count as often as its argument `first` says, or `ASSUMED_LIST_LENGTH` times.
    """
    values = get_variable_values(schema, operation.variable_definitions or (), variables)
    if isinstance(values, list):
        return 0  # Executing it will only tell what is wrong with them.
    walk = _Walk(document, schema, lambda field, node: _list_length(field, node, values))
    return walk.measure(operation.selection_set, schema.get_root_type(operation.operation)).fields


class _Walk:
    """One way through a document's selections, each fragment once.

    Without a schema every field counts once; with one, as often as `times` says.
    """

    def __init__(
        self,
        document: DocumentNode,
        schema: GraphQLSchema | None = None,
        times: Callable[[GraphQLField, FieldNode], int] = lambda *_: 1,
    ) -> None:
        self._schema = schema
        self._times = times
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._measured: dict[str, Size] = {}

    def measure(self, selections: SelectionSetNode, parent: Any) -> Size:
        """The size of what is selected of the type `parent`, None without a schema."""
        depth = fields = 0
        for node in selections.selections:
            size = self._measure_one(node, parent)
            depth, fields = max(depth, size.depth), fields + size.fields
        return Size(depth, fields)

    def _measure_one(self, node: SelectionNode, parent: Any) -> Size:
        match node:
            case FieldNode(selection_set=SelectionSetNode() as nested):
                times, type_ = self._below(node, parent)
                below = self.measure(nested, type_)
                return Size(below.depth + 1, 1 + times * below.fields)
            case InlineFragmentNode():
                return self.measure(node.selection_set, self._narrowed(node, parent))
            case FragmentSpreadNode():
                return self._measure_fragment(node.name.value)
        return Size(1, 1)

    def _measure_fragment(self, name: str) -> Size:
        if name not in self._measured and name in self._fragments:
            # Counts as empty where it spreads itself: GraphQL's own rules refuse that cycle.
            self._measured[name] = Size()
            fragment = self._fragments[name]
            self._measured[name] = self.measure(
                fragment.selection_set, self._narrowed(fragment, None)
            )
        return self._measured.get(name, Size())

    def _below(self, node: FieldNode, parent: Any) -> tuple[int, Any]:
        """How often what is selected below a field counts, and of which type it is."""
        if self._schema is None:
            return 1, None
        field = self._schema.get_field(parent, node.name.value)
        assert field is not None  # noqa: S101 - the document is valid
        return self._times(field, node), get_named_type(field.type)

    def _narrowed(self, node: InlineFragmentNode | FragmentDefinitionNode, parent: Any) -> Any:
        if self._schema is None or node.type_condition is None:
            return parent
        return type_from_ast(self._schema, node.type_condition)


def _list_length(field: GraphQLField, node: FieldNode, values: VariableValues) -> int:
    if (argument := field.args.get("first")) is not None:
        first = get_argument_values(field, node, values).get("first")
        if first is None and argument.default is not None:  # null, which asks for no number
            first = coerce_default_value(argument)
        return max(1, first) if isinstance(first, int) else ASSUMED_LIST_LENGTH
    return ASSUMED_LIST_LENGTH if is_list_type(get_nullable_type(field.type)) else 1
