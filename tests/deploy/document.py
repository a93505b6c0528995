"""docs/deployment.md, and what it says."""

import re
from pathlib import Path

from tests.server import ROOT

PAGE = ROOT / "docs" / "deployment.md"


def blocks(language: str) -> list[str]:
    """What stands between ``` of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def command(*words: str) -> str:
    """The one block of commands in which all these words are."""
    (found,) = [block for block in blocks("sh") if all(word in block for word in words)]
    return found


def links() -> list[Path]:
    """The files of this clone to which it leads."""
    targets = re.findall(r"\]\((?!#|https?:)([^)#]+)", PAGE.read_text())
    return [(PAGE.parent / target).resolve() for target in targets]
