"""What the pages ask of the server is what the contract in `orders/schema.graphql` offers."""

from pathlib import Path

import pytest
from django.conf import settings
from graphql import OperationDefinitionNode, build_schema, parse, validate

pytestmark = pytest.mark.once

SCHEMA = build_schema(Path(settings.BASE_DIR, "orders", "schema.graphql").read_text("utf-8"))
SOURCES = Path(settings.BASE_DIR, "frontend", "src")
DOCUMENTS = sorted(SOURCES.rglob("*.graphql"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_operation_is_valid(path: Path) -> None:
    assert validate(SCHEMA, parse(path.read_text("utf-8"))) == []


def test_playground_opens_with_the_operation_of_the_article() -> None:
    first, *rest = sorted((SOURCES / "playground" / "examples").glob("*.graphql"))
    document = parse(first.read_text("utf-8"), no_location=True)
    assert document == parse(
        "subscription getLastOrder { getOrder { state date } }", no_location=True
    )
    assert len(rest) == 4


def test_operations_have_a_name() -> None:
    """Names show in logs and metrics, and in the playground's tabs."""
    for path in DOCUMENTS:
        for definition in parse(path.read_text("utf-8")).definitions:
            assert isinstance(definition, OperationDefinitionNode)
            assert definition.name, path
