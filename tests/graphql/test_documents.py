"""Documents are known again, whatever the words."""

from dataclasses import replace

import pytest
from django.conf import settings
from graphql import Source, get_operation_ast
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.documents import MAX_CACHED_CHARACTERS, Documents, hash_of
from app.graphql.errors import InvalidDocumentError
from app.graphql.limits import Limits
from app.graphql.validation import IndexedSource
from tests.items.schema import schema

pytestmark = pytest.mark.once


@pytest.fixture
def documents() -> Documents:
    """Documents of the items' schema."""
    return Documents(schema, Limits.from_settings())


def key(documents: Documents, text: str, name: str | None = None) -> bytes:
    """The key of the document's operation."""
    document = documents.get(text)
    operation = get_operation_ast(document.node, name)
    assert operation is not None
    return document.key(operation)


A, B = "fragment a on Item { id }", "fragment b on Item { name }"
SAME = [
    f"subscription {{ items(first: 2) {{ ...a ...b }} }} {A} {B}",
    f"# a comment\nsubscription{{items(first:2){{...a,...b}}}}{A}{B}",
    f"{B} subscription {{ items(first: 2) {{ ...a ...b }} }} {A} # another",
    f"subscription Named {{ items(first: 2) {{ ...a ...b }} }} {A} {B}",
    f"\ufeffsubscription\n\n\n{{ items ( first : 2 ) {{ ... a ,,, ... b }} }} {A} {B}",
]


def test_documents_that_differ_in_words_ask_for_the_same(documents: Documents) -> None:
    assert len({key(documents, text) for text in SAME}) == 1


def test_only_the_chosen_operation_counts(documents: Documents) -> None:
    both = "query other { items { ...c } } fragment c on Item { state } "
    both += SAME[3].replace("Named", "chosen")
    assert key(documents, both, "chosen") == key(documents, SAME[0])
    assert key(documents, both, "other") != key(documents, SAME[0])


OTHERS = [
    SAME[0].replace("first: 2", "first: 3"),
    SAME[0].replace("...a ...b", "...b ...a"),
    SAME[0].replace("{ id }", "{ x: id }"),
    SAME[0].replace("{ id }", "{ id @skip(if: false) }"),
    SAME[0].replace("{ id }", "{ name }"),
]


def test_documents_that_ask_for_something_else_are_others(documents: Documents) -> None:
    assert len({key(documents, text) for text in [SAME[0], *OTHERS]}) == len(OTHERS) + 1


LINES = st.lists(st.sampled_from(["\n", "\r", "\r\n", "a", " ", "\u2028"])).map("".join)


@given(text=LINES, data=st.data())
def test_places_are_those_of_graphql(text: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(text)))
    if text[max(0, position - 1) : position + 1] != "\r\n":  # where no token begins
        assert IndexedSource(text).get_location(position) == Source(text).get_location(position)


def test_a_document_of_line_ends_is_refused(documents: Documents) -> None:
    for ends in ("\n", "\r", "\r\n"):
        with pytest.raises(InvalidDocumentError, match="2000 lines at most"):
            documents.get("{" + ends * 2000 + "items { id } }")
        documents.get("{" + "\n" * 1900 + "items { id } }")


@pytest.mark.parametrize("field", ["__schema { types { name } }", '__type(name: "Item") { name }'])
def test_introspection_is_refused_where_it_is_off(field: str) -> None:
    limits = Limits.from_settings()
    assert not settings.PLAYGROUND
    assert not limits.introspection
    with pytest.raises(InvalidDocumentError, match="introspection has been disabled"):
        Documents(schema, limits).get(f"{{ {field} }}")
    with pytest.raises(InvalidDocumentError) as unknown:
        Documents(schema, limits).get("{ itemz { nam } }")
    assert "Did you mean" not in str(unknown.value)
    Documents(schema, limits).get("{ __typename items { __typename } }")
    Documents(schema, replace(limits, introspection=True)).get(f"{{ {field} }}")


TEXT = "{ items { id } }"
HASH = hash_of(TEXT)


def test_document_is_known_by_the_hash_that_came_with_it(documents: Documents) -> None:
    documents.get(TEXT)
    assert documents.find_by_hash(HASH) is None  # Nobody has asked for it by that.
    assert documents.find(TEXT, HASH) is None
    document = documents.get(TEXT, HASH)
    assert documents.find(TEXT) is documents.find(TEXT, HASH) is document
    assert documents.find_by_hash(HASH) is document
    assert documents.find(TEXT, "0" * 64) is None


def test_hash_of_another_text_is_refused_and_nothing_is_kept(documents: Documents) -> None:
    for _ in range(2):
        with pytest.raises(InvalidDocumentError, match='not the SHA-256 of "query"'):
            documents.get(TEXT, "0" * 64)
        assert (documents.find(TEXT), documents.find_by_hash("0" * 64)) == (None, None)
        with pytest.raises(InvalidDocumentError):  # The other one is known, and stays what it is.
            documents.get("{ items { name } }", documents.get(SAME[0], hash_of(SAME[0])).hash)
    assert documents.find_by_hash(hash_of(SAME[0])) is documents.find(SAME[0])
    assert len(documents) == 1


@pytest.mark.parametrize("text", ["{ nothing }", "{", ""])
def test_invalid_document_is_not_kept_by_its_hash(text: str, documents: Documents) -> None:
    with pytest.raises(InvalidDocumentError):
        documents.get(text, hash_of(text))
    assert (len(documents), documents.find_by_hash(hash_of(text))) == (0, None)


@pytest.mark.parametrize("limit", ["number", "length"])
def test_document_that_is_displaced_is_not_known_by_its_hash(limit: str) -> None:
    limits = Limits.from_settings()
    if limit == "number":
        limits = replace(limits, max_cached_documents=2)
        texts = [f"{{ items(first: {number}) {{ id }} }}" for number in range(1, 6)]
    else:
        texts = [f"{{ items {{ id }} }} # {i} {'x' * 30_000}" for i in range(10)]
    documents = Documents(schema, limits)
    for text in texts:
        documents.get(text, hash_of(text))
    documents.find_by_hash(hash_of(texts[-2]))  # Whoever is asked for by a hash stays, too.
    documents.get(texts[0], hash_of(texts[0]))
    known = [text for text in texts if documents.find_by_hash(hash_of(text)) is not None]
    assert known == [text for text in texts if documents.find(text) is not None]
    assert len(documents) == len(known) == (2 if limit == "number" else 8)
    assert texts[0] in known
    assert texts[-2] in known


def test_document_longer_than_all_that_is_kept_is_not_known() -> None:
    limits = replace(Limits.from_settings(), max_document_characters=1_000_000)
    documents = Documents(schema, limits)
    text = f"{{ items {{ id }} }} # {'x' * MAX_CACHED_CHARACTERS}"
    documents.get(text, hash_of(text))
    assert (len(documents), documents.find_by_hash(hash_of(text))) == (0, None)


@pytest.mark.parametrize(
    "text", ["{ items { ... @defer { id } } }", "{ items @stream(initialCount: 1) { id } }"]
)
def test_incremental_delivery_is_refused_with_a_way_to_go_on(
    text: str, documents: Documents
) -> None:
    with pytest.raises(InvalidDocumentError, match="is not supported: each result comes as a who"):
        documents.get(text)
    with pytest.raises(InvalidDocumentError, match="Unknown directive '@deferred'"):
        documents.get("{ items { ... @deferred { id } } }")
