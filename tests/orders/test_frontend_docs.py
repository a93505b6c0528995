"""The code in docs/frontend.md is the code of the example that the browser tests run."""

from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.once

EXAMPLE = Path(settings.BASE_DIR, "frontend", "examples", "apollo", "src")
DOCS = Path(settings.BASE_DIR, "docs", "frontend.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(EXAMPLE.iterdir()), ids=lambda path: path.name)
def test_example_stands_in_the_docs(path: Path) -> None:
    code = path.read_text("utf-8").replace("./socket.legacy", "./socket.modern")
    assert f"\n```{path.suffix[1:]}\n{code}```\n" in DOCS
