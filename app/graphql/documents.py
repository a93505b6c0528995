"""Parse and validate each distinct document once."""

from collections import OrderedDict
from dataclasses import replace
from hashlib import sha256
from typing import Final

from graphql import (
    DocumentNode,
    GraphQLSchema,
    OperationDefinitionNode,
    print_ast,
    separate_operations,
)

from .errors import BadUserInputError, InvalidDocumentError
from .limits import Limits
from .request import GraphQLRequest
from .validation import Validator

# A parsed document takes up to 300 bytes a character.
MAX_CACHED_CHARACTERS = 256 * 1024


class Document:
    """A valid document."""

    __slots__ = ("hash", "keys", "node")

    def __init__(self, node: DocumentNode) -> None:
        self.node: Final = node
        self.keys: dict[str, bytes] = {}
        """Of operations, by name."""
        self.hash: str | None = None
        """SHA-256 of its text in hexadecimal, if a client asks for it by that."""

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
    """The valid documents asked for last, by their texts and by the hashes that clients use.

    Bounded in number and in length together, so a stream of distinct documents only displaces
    others. Invalid documents are never kept.
    """

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._validator = Validator(schema, limits)
        self._limits = limits
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._texts: dict[str, str] = {}
        """By hash; of documents that are here."""
        self._characters = 0

    def __len__(self) -> int:
        return len(self._documents)

    def find(self, text: str, hash_: str | None = None) -> Document | None:
        """The document, if it is still here and, unless that is None, known by this hash."""
        document = self._documents.get(text)
        if document is None or hash_ not in (None, document.hash):
            return None
        self._documents.move_to_end(text)
        return document

    def find_by_hash(self, hash_: str) -> Document | None:
        """The document, if it is still here and known by this hash."""
        text = self._texts.get(hash_)
        return None if text is None else self.find(text)

    def get(self, text: str, hash_: str | None = None) -> Document:
        """The document, parsed unless it is here; from now on known by the hash, too.

        Raises InvalidDocumentError, also if the hash is that of another text.
        """
        if hash_ is not None and hash_ != hash_of(text):
            message = '"sha256Hash" is not the SHA-256 of "query" in hexadecimal.'
            raise InvalidDocumentError([BadUserInputError(message)])
        document = self.find(text)
        if document is None:
            document = Document(self._validator.validated(text))
            self._documents[text] = document
            self._characters += len(text)
            self._evict()
        if hash_ is not None and text in self._documents:
            document.hash = hash_
            self._texts[hash_] = text
        return document

    def _evict(self) -> None:
        while (
            len(self._documents) > self._limits.max_cached_documents
            or self._characters > MAX_CACHED_CHARACTERS
        ):
            text, document = self._documents.popitem(last=False)
            self._characters -= len(text)
            if document.hash is not None:
                del self._texts[document.hash]


def hash_of(text: str) -> str:
    """SHA-256 in hexadecimal, as clients name documents by it."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def persisted_hash(request: GraphQLRequest) -> str | None:
    """The hash in `extensions.persistedQuery`, if there is one, as Apollo's clients send it.

    Raises InvalidDocumentError.
    """
    if (persisted_query := request.persisted_query) is None:
        return None
    hash_ = persisted_query.get("sha256Hash")
    if persisted_query.get("version") != 1 or not isinstance(hash_, str):
        message = 'extensions.persistedQuery must have "version": 1, and text as "sha256Hash".'
        raise InvalidDocumentError([BadUserInputError(message)])
    return hash_
