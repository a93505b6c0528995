"""Parse a document and validate it: by the schema, and by how much it may ask for."""

import re
from bisect import bisect_right
from functools import cached_property
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    KnownDirectivesRule,
    Node,
    Source,
    SourceLocation,
    parse,
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

# Comparing the fields of one name is quadratic. This many units of work take some 30 ms, and are
# more than what 30 fragments of one type need, of 7 fields each.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000

# Each error looks for its line in the document, which may be nothing but line ends.
MAX_LINES = 2000

INCREMENTAL_DELIVERY = {"defer", "stream"}


class IndexedSource(Source):
    """A document's text in which the line of a place is found without reading all before it."""

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\r\n|[\n\r]", self.body))]

    def get_location(self, position: int) -> SourceLocation:
        """Return the line and column of a character, both from 1."""
        line = bisect_right(self._line_starts, position)
        return SourceLocation(line, position + 1 - self._line_starts[line - 1])


class KnownDirectives(KnownDirectivesRule):
    """GraphQL's rule; of incremental delivery it says what to do instead."""

    def enter_directive(
        self, node: DirectiveNode, _key: Any, _parent: Any, _path: Any, ancestors: list[Node]
    ) -> None:
        """Report a directive that the schema does not have, or not at this place."""
        name = node.name.value
        if name in INCREMENTAL_DELIVERY and name not in self.locations_map:
            message = (
                f"@{name} is not supported: each result comes as a whole. Leave it out, and ask "
                "for what may come later in an operation of its own."
            )
            self.report_error(GraphQLError(message, node))
        else:
            super().enter_directive(node, _key, _parent, _path, ancestors)


RULES = (
    *(KnownDirectives if rule is KnownDirectivesRule else rule for rule in specified_rules),
    MaxIntrospectionDepthRule,
)


class Validator:
    """Validates documents against one schema."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = RULES if limits.introspection else (*RULES, NoSchemaIntrospectionCustomRule)

    def validated(self, text: str) -> DocumentNode:
        """Return what `text` says. Raise InvalidDocumentError."""
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

    def _parse(self, text: str) -> DocumentNode:
        """Return what `text` says. Raise GraphQLError."""
        limits = self._limits
        if len(text) > (limit := limits.max_document_characters):
            raise GraphQLError(f"A document may have {limit} characters at most.")
        if text.count("\n") + text.count("\r") >= MAX_LINES:
            raise GraphQLError(f"A document may have {MAX_LINES} lines at most.")
        return parse(IndexedSource(text), max_lexical_tokens=limits.max_document_tokens)

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
