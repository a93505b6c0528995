"""Make an operation of a request: parse, validate, choose, and measure what it may cost."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from django.conf import settings
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_operation_ast,
)

from ..turns import Steps, Turns
from .cost import Size, result_size
from .documents import Document, Documents, persisted_hash
from .errors import (
    BadUserInputError,
    InvalidDocumentError,
    NotInSafelistError,
    PersistedQueryNotFoundError,
    PersistedQueryNotSupportedError,
    TooLargeError,
)
from .lengths import ListLengths
from .limits import Limits
from .request import GraphQLRequest
from .trusted import TrustedDocuments

T = TypeVar("T")

SHA256 = re.compile("[0-9a-f]{64}")
NO_TRUSTED_DOCUMENTS = (
    'This server has no trusted documents that an id could name: send the document as "query", or '
    "name it by its hash in extensions.persistedQuery."
)

EXPENSIVE_FIELDS = 500
"""A result of so many fields keeps the event loop from all others for some milliseconds."""
EXPENSIVE_BYTES = 64 * 1024
"""So does one with so many bytes of names, which takes up memory until it is read, too."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A valid document, and which of its operations to run with what."""

    request: GraphQLRequest
    document: DocumentNode
    type: OperationType
    name: str
    """As the client has it; "" if it has none."""
    field: str
    """The name of its first field, for the log."""
    key: bytes
    """The same for all that ask for the same, whatever the words; of subscriptions only."""
    cost: int
    """How large its result may be, in fields."""
    is_expensive: bool
    """Whether executing it keeps the event loop from all others for a while."""

    @property
    def traced_document(self) -> str | None:
        """The document's text, if traces may have it."""
        return self.request.query if settings.GRAPHQL_TRACE_DOCUMENTS else None

    @property
    def is_subscription(self) -> bool:
        """Whether results keep coming."""
        return self.type is OperationType.SUBSCRIPTION


class Preparation:
    """Prepares operations of one schema, by consumers in turn."""

    def __init__(
        self, schema: GraphQLSchema, limits: Limits, turns: Turns, refused: Counter[str]
    ) -> None:
        self.documents: Final = Documents(schema, limits)
        self.trusted: Final = (
            TrustedDocuments.read(Path(limits.trusted_documents), schema, limits)
            if limits.trusted_documents
            else None
        )
        """The only documents that may be asked for, if there are any."""
        self.steps: Final = Steps()
        """Taken one at a time, by consumers in turn, to read what they send."""
        self._schema = schema
        self._lengths = ListLengths(schema)
        self._limits = limits
        self._turns = turns
        self._refused = refused

    async def prepare(self, request: GraphQLRequest) -> Operation:
        """Parse, validate and choose the operation. Raises InvalidDocumentError."""
        document = await self._document(request)
        operation = get_operation_ast(document.node, request.operation_name)
        if operation is None:
            raise InvalidDocumentError([_unknown_operation(document.node, request.operation_name)])
        # Others would only be kept in memory, and keep equal subscriptions apart.
        declared = {each.variable.name.value for each in operation.variable_definitions or ()}
        variables = {key: request.variables[key] for key in declared & request.variables.keys()}
        size = result_size(self._schema, self._lengths, document.node, operation, variables)
        self._check(size)
        first = getattr(operation.selection_set.selections[0], "name", None)
        name = operation.name.value if operation.name else ""
        key = document.keys.get(name, b"")
        if operation.operation is OperationType.SUBSCRIPTION and not key:
            key = await self._in_turn(lambda: document.key(operation))
        return Operation(
            replace(request, variables=variables, persisted_query=None),
            document.node,
            operation.operation,
            name,
            first.value if first else "",
            key,
            size.cost,
            size.fields > EXPENSIVE_FIELDS or size.bytes > EXPENSIVE_BYTES,
        )

    async def _document(self, request: GraphQLRequest) -> Document:
        if self.trusted is not None:
            try:
                return self.trusted.find(request)
            except InvalidDocumentError as error:
                if isinstance(error.errors[0], NotInSafelistError):
                    self._refused[NotInSafelistError.code] += 1
                raise
        text, hash_ = request.query, persisted_hash(request)
        if request.document_id is not None:
            raise InvalidDocumentError([PersistedQueryNotSupportedError(NO_TRUSTED_DOCUMENTS)])
        if hash_ is not None and not SHA256.fullmatch(hash_):
            message = '"sha256Hash" must be a SHA-256 of 64 digits, which are 0 to 9 and a to f.'
            raise InvalidDocumentError([BadUserInputError(message)])
        if text is not None:
            document = self.documents.find(text, hash_)
            if document is None:
                document = await self._in_turn(lambda: self.documents.get(text, hash_))
            return document
        document = self.documents.find_by_hash(hash_ or "")
        if document is None:
            raise InvalidDocumentError([PersistedQueryNotFoundError()])
        return document

    async def _in_turn(self, work: Callable[[], T]) -> T:
        turn = await self._turns.begin_document()
        try:
            return work()
        finally:
            turn.end()

    def _check(self, size: Size) -> None:
        limits = self._limits
        for unit, value, limit, hint in (
            ("fields", size.fields, limits.max_result_fields, "fewer fields"),
            ("bytes of names", size.bytes, limits.max_result_bytes, "shorter names, fewer fields"),
        ):
            if value > limit:
                message = (
                    f"The result may have {value:.0f} {unit}, but at most {limit} are allowed: "
                    f"ask for {hint}, or shorter lists by `first`."
                )
                self._refused[TooLargeError.code] += 1
                raise InvalidDocumentError([TooLargeError(message)])


def _unknown_operation(document: DocumentNode, name: str | None) -> GraphQLError:
    names = [
        node.name.value if node.name else "an anonymous one"
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
    ]
    if not names:
        return BadUserInputError("The document has no operation to run.")
    if name is None:
        return BadUserInputError(f"operationName must choose one of: {', '.join(names)}.")
    return BadUserInputError(f"There is no operation {name!r}; there is: {', '.join(names)}.")
