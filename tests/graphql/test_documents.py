"""Documents are known again, whatever the words."""

from dataclasses import replace

import pytest
from django.conf import settings
from graphql import Source, get_operation_ast
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.documents import Documents, IndexedSource
from app.graphql.errors import InvalidDocumentError
from app.graphql.limits import Limits
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
