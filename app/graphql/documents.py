"""Parse and validate each distinct document once."""

from collections import OrderedDict
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)
from graphql.validation import MaxIntrospectionDepthRule, specified_rules
from graphql.validation.rules import overlapping_fields_can_be_merged

from app.graphql.errors import PARSE_FAILED, VALIDATION_FAILED
from app.graphql.limits import Limits

# A parsed document takes up to 300 bytes a character.
MOST_CACHED_CHARACTERS = 256 * 1024

# Comparing the fields of one name is quadratic. This many units of work take some 30 ms, and are
# more than what 30 fragments of one type need, of 7 fields each.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000

RULES = (*specified_rules, MaxIntrospectionDepthRule)


class InvalidDocumentError(Exception):
    """The document cannot be executed; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


class Documents:
    """The valid documents asked for last.

    Bounded in number and in length together, so a stream of distinct documents only displaces
    others. Invalid documents are never kept.
    """

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._documents)

    def get(self, text: str) -> DocumentNode:
        """The parsed document. Raises InvalidDocumentError."""
        if (document := self._documents.get(text)) is not None:
            self._documents.move_to_end(text)
            return document
        document = self._parse(text)
        self._documents[text] = document
        self._characters += len(text)
        while (
            len(self._documents) > self._limits.max_cached_documents
            or self._characters > MOST_CACHED_CHARACTERS
        ):
            oldest, _ = self._documents.popitem(last=False)
            self._characters -= len(oldest)
        return document

    def _parse(self, text: str) -> DocumentNode:
        if len(text) > (limit := self._limits.max_document_characters):
            error = GraphQLError(f"A document may have {limit} characters at most.")
            error.extensions = {"code": PARSE_FAILED}
            raise InvalidDocumentError([error])
        try:
            document = parse(text, max_lexical_tokens=self._limits.max_document_tokens)
        except GraphQLError as error:
            error.extensions = {"code": PARSE_FAILED}
            raise InvalidDocumentError([error]) from None
        # The size first: some of GraphQL's own rules take long over a document that is too large.
        errors = measure(document, self._limits) or validate(
            self._schema, document, RULES, max_errors=10
        )
        if errors:
            for each in errors:
                # What a scalar makes of a literal is the client's fault, too.
                each.original_error = None
                each.extensions = {"code": VALIDATION_FAILED, **(each.extensions or {})}
            raise InvalidDocumentError(errors)
        return document


@dataclass(frozen=True, slots=True)
class Size:
    """How deep a selection goes, and how many fields it has when fragments are spread."""

    depth: int = 0
    fields: int = 0


def measure(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """The errors of operations that are larger than `limits` allow."""
    fragments = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    measured: dict[str, Size] = {}
    errors = []
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            size = _measure(node.selection_set, fragments, measured)
            for name, value, limit in (
                ("levels deep", size.depth, limits.max_document_depth),
                ("fields large", size.fields, limits.max_document_fields),
            ):
                if value > limit:
                    message = f"The operation is {value} {name}, but at most {limit} are allowed."
                    errors.append(GraphQLError(message, node))
    return errors


def _measure(
    selections: SelectionSetNode,
    fragments: dict[str, FragmentDefinitionNode],
    measured: dict[str, Size],
) -> Size:
    depth = fields = 0
    for node in selections.selections:
        match node:
            case FieldNode(selection_set=None):
                size = Size(1, 1)
            case FieldNode(selection_set=SelectionSetNode() as nested):
                inner = _measure(nested, fragments, measured)
                size = Size(inner.depth + 1, inner.fields + 1)
            case InlineFragmentNode():
                size = _measure(node.selection_set, fragments, measured)
            case FragmentSpreadNode():
                size = _measure_fragment(node.name.value, fragments, measured)
            case _:
                size = Size()
        depth, fields = max(depth, size.depth), fields + size.fields
    return Size(depth, fields)


def _measure_fragment(
    name: str, fragments: dict[str, FragmentDefinitionNode], measured: dict[str, Size]
) -> Size:
    if name not in measured and name in fragments:
        # Counts as empty where it spreads itself: that cycle is refused by GraphQL's own rules.
        measured[name] = Size()
        measured[name] = _measure(fragments[name].selection_set, fragments, measured)
    return measured.get(name, Size())
