"""Compute what a document costs: how large it is, and how large its result may be."""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, NamedTuple

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
    get_named_type,
    get_variable_values,
    type_from_ast,
)

from .lengths import READS_EACH, ListLengths

# What JSON puts around a name: two quotation marks, a colon, a comma, one character of a value.
BYTES_AROUND_FIELD = 5
BYTES_OF_ONE_FIELD = 20


class Size(NamedTuple):
    """How large a selection is when fragments are spread, or the result that it may have.

    Each alias and each spread of a fragment counts anew, and what `@skip` leaves out counts, too.
    """

    depth: int = 0
    fields: float = 0
    bytes: float = 0
    """Of the names in the encoded result: values, whose length nobody knows yet, count as one."""

    @property
    def cost(self) -> int:
        """In fields, of which long names are several: they take up memory while they are held."""
        return ceil(max(self.fields, self.bytes / BYTES_OF_ONE_FIELD))


def operation_sizes(document: DocumentNode) -> Iterator[tuple[OperationDefinitionNode, Size]]:
    """Yield each operation of a document, which need not be valid, with its size."""
    walk = _Walk(document)
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            yield node, walk.measure(node.selection_set, None)


def result_size(
    schema: GraphQLSchema,
    lengths: ListLengths,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
) -> Size:
    """How large the result of a valid operation may be."""
    values = get_variable_values(schema, operation.variable_definitions or (), variables)
    if isinstance(values, list):
        return Size()  # Executing it will only tell what is wrong with them.

    def times(parent: str, field: GraphQLField, node: FieldNode, each: bool) -> float:
        return lengths.of(parent, field, node, values, each=each)

    walk = _Walk(document, schema, times)
    size = walk.measure(operation.selection_set, schema.get_root_type(operation.operation))
    return Size(size.depth, ceil(size.fields), ceil(size.bytes))


class _Walk:
    """One way through a document's selections, each fragment once.

    Without a schema every field counts once; with one, as often as `times` says.
    """

    def __init__(
        self,
        document: DocumentNode,
        schema: GraphQLSchema | None = None,
        times: Callable[[str, GraphQLField, FieldNode, bool], float] = lambda *_: 1,
    ) -> None:
        self._schema = schema
        self._times = times
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._measured: dict[tuple[str, bool], Size] = {}

    def measure(self, selections: SelectionSetNode, parent: Any, each: bool = True) -> Size:
        """The size of what is selected of the type `parent`, None without a schema."""
        depth, fields, bytes_ = Size()
        for node in selections.selections:
            size = self._measure_one(node, parent, each)
            depth = max(depth, size.depth)
            fields += size.fields
            bytes_ += size.bytes
        return Size(depth, fields, bytes_)

    def _measure_one(self, node: SelectionNode, parent: Any, each: bool) -> Size:
        match node:
            case FieldNode():
                return self._measure_field(node, parent, each)
            case InlineFragmentNode():
                return self.measure(node.selection_set, self._narrowed(node, parent), each)
            case FragmentSpreadNode():
                return self._measure_fragment(node.name.value, each)
        raise TypeError(f"A selection was expected, but {node} came.")

    def _measure_field(self, node: FieldNode, parent: Any, each: bool) -> Size:
        key = node.alias or node.name
        own = len(key.value) + BYTES_AROUND_FIELD
        if node.selection_set is None:
            return Size(1, 1, own)
        times, type_, each = self._below(node, parent, each)
        below = self.measure(node.selection_set, type_, each)
        return Size(below.depth + 1, 1 + times * below.fields, own + times * below.bytes)

    def _measure_fragment(self, name: str, each: bool) -> Size:
        key = name, each
        if key not in self._measured and name in self._fragments:
            # Counts as empty where it spreads itself: GraphQL's own rules refuse that cycle.
            self._measured[key] = Size()
            fragment = self._fragments[name]
            self._measured[key] = self.measure(
                fragment.selection_set, self._narrowed(fragment, None), each
            )
        return self._measured.get(key, Size())

    def _below(self, node: FieldNode, parent: Any, each: bool) -> tuple[float, Any, bool]:
        """How often what is selected below a field counts, of which type, and if of each there."""
        if self._schema is None:
            return 1, None, each
        name = node.name.value
        field = self._schema.get_field(parent, name)
        assert field is not None  # noqa: S101 - the document is valid
        times = self._times(parent.name, field, node, each)
        return times, get_named_type(field.type), each and name in READS_EACH

    def _narrowed(self, node: InlineFragmentNode | FragmentDefinitionNode, parent: Any) -> Any:
        if self._schema is None or node.type_condition is None:
            return parent
        return type_from_ast(self._schema, node.type_condition)
