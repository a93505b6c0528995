"""SECURITY.md names tests that exist, and each line of its table names one."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_named_test_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_each_line_of_the_table_names_a_test() -> None:
    table = [line for line in TEXT.splitlines() if line.startswith("| ")][1:]
    assert len(table) >= 20
    assert [line for line in table if "::test_" not in line] == []
