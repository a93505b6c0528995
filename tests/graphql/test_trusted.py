"""The file of trusted documents: its formats, and what keeps a server from starting."""

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from app.graphql.errors import InvalidDocumentError
from app.graphql.limits import Limits
from app.graphql.preparation import Preparation
from app.graphql.request import GraphQLRequest
from app.graphql.trusted import TrustedDocuments
from app.turns import Turns
from tests.items.schema import schema

pytestmark = pytest.mark.once

TEXT, OTHER = "query a { items { id } }", "query b { items { name } }"
HASH = sha256(TEXT.encode()).hexdigest()
MANIFEST = {
    "format": "apollo-persisted-query-manifest",
    "version": 1,
    "operations": [
        {"id": "one", "name": "a", "type": "query", "body": TEXT},
        {"id": "two", "name": "b", "type": "query", "body": OTHER},
    ],
}
FORMATS: dict[str, dict[str, Any]] = {"manifest": MANIFEST, "map": {"one": TEXT, "two": OTHER}}


def read(path: Path, content: object) -> TrustedDocuments:
    """What the server makes of a file of this content."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return TrustedDocuments.read(path, schema, Limits.from_settings())


def request(**parameters: Any) -> GraphQLRequest:
    """A request; `hash` is that of an automatic persisted query."""
    if (hash_ := parameters.pop("hash", None)) is not None:
        parameters["extensions"] = {"persistedQuery": {"version": 1, "sha256Hash": hash_}}
    return GraphQLRequest.from_json(parameters, 0)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"documentId": "one"},
        {"documentId": HASH},
        {"documentId": f"sha256:{HASH}"},
        {"doc_id": "one"},
        {"hash": "one"},
        {"hash": HASH},
        {"query": TEXT},
        {"query": TEXT, "hash": HASH},
        {"query": "", "doc_id": "one"},
        {"query": TEXT, "documentId": "one", "hash": HASH},
    ],
    ids=str,
)
def test_trusted_document_is_found_by_each_name(
    format_: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    trusted = read(tmp_path / "trusted.json", FORMATS[format_])
    assert len(trusted) == 2
    node = trusted.find(request(**parameters)).node
    assert node is trusted.find(request(query=TEXT)).node
    assert node is not trusted.find(request(documentId="two")).node


@pytest.mark.parametrize(
    "parameters",
    [
        {"query": "{ __typename }"},
        {"query": TEXT + " "},
        {"query": "{ __schema { types { name } } }"},
        {"query": "{"},
        {"query": ""},
        {"documentId": "three"},
        {"documentId": f"sha512:{HASH}"},
        {"documentId": TEXT},
        {"doc_id": "three"},
        {"hash": "0" * 64},
        # What it names and what it says are not the same.
        {"query": OTHER, "hash": HASH},
        {"query": TEXT, "documentId": "two"},
        {"query": "{ __typename }", "documentId": "one"},
        {"documentId": "one", "hash": "two"},
    ],
    ids=str,
)
def test_all_else_is_refused(parameters: dict[str, Any], tmp_path: Path) -> None:
    trusted = read(tmp_path / "trusted.json", MANIFEST)
    with pytest.raises(InvalidDocumentError, match="trusted documents only") as refused:
        trusted.find(request(**parameters))
    assert [error.extensions for error in refused.value.errors] == [
        {"code": "QUERY_NOT_IN_SAFELIST"}
    ]


def test_same_document_may_have_several_ids(tmp_path: Path) -> None:
    trusted = read(tmp_path / "trusted.json", {"one": TEXT, "two": TEXT})
    assert trusted.find(request(doc_id="one")) is trusted.find(request(doc_id="two"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON: "),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "is not JSON: "),
        ([], "must be a manifest of Apollo's, or a JSON object of ids and documents"),
        ({}, "must be a manifest of Apollo's, or a JSON object of ids and documents"),
        ({"one": 1}, "must have the text of a document for the id 'one'"),
        (MANIFEST | {"version": 2}, "but is of format 'apollo-persisted-query-manifest' and vers"),
        ({"format": "other", "operations": []}, "but is of format 'other' and version None"),
        (MANIFEST | {"operations": {"one": TEXT}}, 'must be a list of "operations"'),
        (MANIFEST | {"operations": [{"id": "one"}]}, "in each operation, but not in no. 1"),
        ({"one": "{"}, "has the document 'one', which is not valid here: Syntax Error"),
        ({"one": TEXT, "two": "{ nothing }"}, "has the document 'two', which is not valid here: C"),
        ({"one": "{ __schema { types { name } } }"}, "introspection has been disabled"),
        ({"one": "{ " + "__typename " * 1000 + "}"}, "Document contains more than 1000 tokens"),
        (
            MANIFEST | {"operations": [{"id": "x", "body": TEXT}, {"id": "x", "body": OTHER}]},
            "has two documents of the id 'x'",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_file_that_makes_no_sense_is_refused(
    content: object, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "trusted.json"
    with pytest.raises(ImproperlyConfigured) as refused:
        read(path, content)
    message = str(refused.value)
    assert message.startswith(f"GRAPHQL_TRUSTED_DOCUMENTS: {path} ")
    assert complaint in message


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"none\.json cannot be read: No such file"):
        TrustedDocuments.read(tmp_path / "none.json", schema, Limits.from_settings())


def test_introspection_may_be_trusted_where_it_is_on(tmp_path: Path) -> None:
    path, text = tmp_path / "trusted.json", "{ __schema { types { name } } }"
    path.write_text(json.dumps({"one": text}))
    limits = replace(Limits.from_settings(), introspection=True)
    trusted = TrustedDocuments.read(path, schema, limits)
    assert trusted.find(request(query=text)) is trusted.find(request(documentId="one"))


async def test_each_refusal_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "trusted.json"
    path.write_text(json.dumps(MANIFEST))
    limits = replace(Limits.from_settings(), trusted_documents=str(path))
    refused = Counter[str]()
    preparation = Preparation(schema, limits, Turns(1), refused)
    await preparation.prepare(request(documentId="one"))
    for parameters in ({"query": "{ __typename }"}, {"documentId": "three"}, {"hash": "4" * 64}):
        with pytest.raises(InvalidDocumentError):
            await preparation.prepare(request(**parameters))
    assert refused == {"QUERY_NOT_IN_SAFELIST": 3}
