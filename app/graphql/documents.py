"""Parse and validate each distinct document once."""

import re
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    Source,
    SourceLocation,
    parse,
    print_ast,
    separate_operations,
    validate,
)
from graphql.validation import (
    MaxIntrospectionDepthRule,
    NoSchemaIntrospectionCustomRule,
    specified_rules,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from .cost import operation_sizes
from .errors import PARSE_FAILED, VALIDATION_FAILED, InvalidDocumentError
from .limits import Limits

# A parsed document takes up to 300 bytes a character.
MAX_CACHED_CHARACTERS = 256 * 1024

# Comparing the fields of one name is quadratic. This many units of work take some 30 ms, and are
# more than what 30 fragments of one type need, of 7 fields each.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000

# Each error looks for its line in the document, which may be nothing but line ends.
MAX_LINES = 2000

RULES = (*specified_rules, MaxIntrospectionDepthRule)


class IndexedSource(Source):
    """A document's text in which the line of a place is found without reading all before it."""

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\r\n|[\n\r]", self.body))]

    def get_location(self, position: int) -> SourceLocation:
        """Return the line and column of a character, both from 1."""
        line = bisect_right(self._line_starts, position)
        return SourceLocation(line, position + 1 - self._line_starts[line - 1])


class Document:
    """A valid document."""

    __slots__ = ("keys", "node")

    def __init__(self, node: DocumentNode) -> None:
        self.node: Final = node
        self.keys: dict[str, bytes] = {}
        """Of operations, by name."""

    def key(self, operation: OperationDefinitionNode) -> bytes:
        """Return a digest of what the operation asks for, in whatever words.

        Comments, the operation's name, the order of fragments, and what belongs to other
        operations make no difference.
        """
        name = operation.name.value if operation.name else ""
        if name not in self.keys:
            separate = separate_operations(self.node)[name].definitions
            fragments = [print_ast(each) for each in separate if each is not operation]
            text = "\n".join([print_ast(replace(operation, name=None)), *sorted(fragments)])
            self.keys[name] = sha256(text.encode("utf-8", "surrogatepass")).digest()
        return self.keys[name]


class Documents:
    """The valid documents asked for last.

    Bounded in number and in length together, so a stream of distinct documents only displaces
    others. Invalid documents are never kept.
    """

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = RULES if limits.introspection else (*RULES, NoSchemaIntrospectionCustomRule)
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._documents)

    def find(self, text: str) -> Document | None:
        """The document, if it is still here."""
        if (document := self._documents.get(text)) is not None:
            self._documents.move_to_end(text)
        return document

    def get(self, text: str) -> Document:
        """The document, parsed unless it is here. Raises InvalidDocumentError."""
        if (document := self.find(text)) is not None:
            return document
        document = Document(self._validated(text))
        self._documents[text] = document
        self._characters += len(text)
        while (
            len(self._documents) > self._limits.max_cached_documents
            or self._characters > MAX_CACHED_CHARACTERS
        ):
            oldest, _ = self._documents.popitem(last=False)
            self._characters -= len(oldest)
        return document

    def _parse(self, text: str) -> DocumentNode:
        """Return what `text` says. Raise GraphQLError."""
        limits = self._limits
        if len(text) > (limit := limits.max_document_characters):
            raise GraphQLError(f"A document may have {limit} characters at most.")
        if text.count("\n") + text.count("\r") >= MAX_LINES:
            raise GraphQLError(f"A document may have {MAX_LINES} lines at most.")
        return parse(IndexedSource(text), max_lexical_tokens=limits.max_document_tokens)

    def _validated(self, text: str) -> DocumentNode:
        try:
            document = self._parse(text)
        except GraphQLError as error:
            error.extensions = {"code": PARSE_FAILED}
            raise InvalidDocumentError([error]) from None
        # The size first: some of GraphQL's own rules take long over a document that is too large.
        errors = self._errors_of_size(document) or validate(
            self._schema,
            document,
            self._rules,
            max_errors=10,
            hide_suggestions=not self._limits.introspection,
        )
        if errors:
            for each in errors:
                # What a scalar makes of a literal is the client's fault, too.
                each.original_error = None
                each.extensions = {"code": VALIDATION_FAILED, **(each.extensions or {})}
            raise InvalidDocumentError(errors)
        return document

    def _errors_of_size(self, document: DocumentNode) -> list[GraphQLError]:
        limits = self._limits
        return [
            GraphQLError(
                f"The operation is {value} {unit}, but at most {limit} are allowed.", operation
            )
            for operation, size in operation_sizes(document)
            for unit, value, limit in (
                ("levels deep", size.depth, limits.max_document_depth),
                ("fields large", size.fields, limits.max_document_fields),
            )
            if value > limit
        ]
