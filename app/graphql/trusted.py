"""The documents that were known when the clients were built: with them, nothing else may run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from django.core.exceptions import ImproperlyConfigured
from graphql import GraphQLSchema

from .documents import Document, hash_of, persisted_hash
from .errors import InvalidDocumentError, NotInSafelistError
from .limits import Limits
from .request import GraphQLRequest
from .validation import Validator

MANIFEST: Final = "apollo-persisted-query-manifest"
REFUSAL: Final = (
    "This server runs trusted documents only, and this is none of them. Let the client's build "
    "write it into the server's file of trusted documents, and restart the server with that."
)


class TrustedDocuments:
    """All documents of a file, by their ids, hashes and texts."""

    def __init__(self) -> None:
        self._by_name: dict[str, Document] = {}
        self._by_text: dict[str, Document] = {}

    @classmethod
    def read(cls, path: Path, schema: GraphQLSchema, limits: Limits) -> Self:
        """Read the file, and validate each document. Raises ImproperlyConfigured.

        It is a persisted query manifest of Apollo's
        (https://www.apollographql.com/docs/graphos/platform/security/persisted-queries), or a map
        of ids to texts, as Relay's compiler and the client preset of graphql-codegen write it.
        """
        trusted, validator = cls(), Validator(schema, limits)
        for id_, text in _entries(path):
            try:
                document = trusted._by_text.get(text) or Document(validator.validated(text))
            except InvalidDocumentError as error:
                why = error.errors[0].message
                _refuse(path, f"has the document {id_!r}, which is not valid here: {why}")
            if trusted._by_name.setdefault(id_, document) is not document:
                _refuse(path, f"has two documents of the id {id_!r}.")
            trusted._by_text[text] = document
        for text, document in trusted._by_text.items():
            for name in (hash_of(text), f"sha256:{hash_of(text)}"):
                trusted._by_name.setdefault(name, document)
        return trusted

    def __len__(self) -> int:
        return len(self._by_text)

    def find(self, request: GraphQLRequest) -> Document:
        """The one document that all of the request's names, and its text, stand for.

        Raises InvalidDocumentError, also if they stand for several.
        """
        found = {
            documents.get(name)
            for documents, name in (
                (self._by_name, request.document_id),
                (self._by_name, persisted_hash(request)),
                (self._by_text, request.query),
            )
            if name is not None
        }
        document = found.pop()
        if document is None or found:
            raise InvalidDocumentError([NotInSafelistError(REFUSAL)])
        return document


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """Each document's id and text."""
    content = _content(path)
    if "format" in content:
        yield from _manifest_entries(path, content)
        return
    for id_, text in content.items():
        if not isinstance(text, str):
            _refuse(path, f"must have the text of a document for the id {id_!r}.")
        yield id_, text


def _manifest_entries(path: Path, content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    format_, version, operations = (content.get(k) for k in ("format", "version", "operations"))
    if format_ != MANIFEST or version != 1 or not isinstance(operations, list):
        came = f"format {format_!r} and version {version!r}"
        _refuse(
            path, f'must be a list of "operations" of format {MANIFEST!r}, 1, but is of {came}.'
        )
    for number, operation in enumerate(operations, 1):
        match operation:
            case {"id": str(id_), "body": str(text)}:
                yield id_, text
            case _:
                _refuse(
                    path, f'must have "id" and "body" in each operation, but not in no. {number}.'
                )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}.")
    except ValueError as error:
        _refuse(path, f"is not JSON: {error}.")
    if not isinstance(content, dict) or not content:
        _refuse(path, "must be a manifest of Apollo's, or a JSON object of ids and documents.")
    return content


def _refuse(path: Path, what: str) -> NoReturn:
    raise ImproperlyConfigured(f"GRAPHQL_TRUSTED_DOCUMENTS: {path} {what}")
