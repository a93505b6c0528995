"""Write what was counted into README.md, as a table."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.adoption.arms import ARMS, Arm
from benchmarks.database import ROOT
from benchmarks.wording import table

FILE: Final = Path(__file__).with_name("results.json")
README: Final = ROOT / "README.md"
_TABLE: Final = re.compile(r"(?<=<!--adoption-->\n\n).*?(?=\n\n<!--/adoption-->)", re.DOTALL)

Found: TypeAlias = Mapping[str, Any]

ARRIVED: Final = {
    "saved_in_admin": "saved in the admin, by the server's process",
    "saved_elsewhere": "saved by another process",
    "updated": "`QuerySet.update()`",
    "created_in_bulk": "`bulk_create()`",
    "written_by_sql": "SQL, past Django",
    "moved": "given to another viewer, in the admin",
}
NEEDLESS: Final = ("saved_as_they_were", "noted", "rolled_back")
"""Writes after which nobody's rows are others than before."""


def read() -> dict[str, Any]:
    """Return the results of the last full run."""
    results: dict[str, Any] = json.loads(FILE.read_text())
    return results


def write(results: Found) -> None:
    """Keep the results, and show them in README.md."""
    FILE.write_text(json.dumps(results, indent=1) + "\n")
    README.write_text(filled(README.read_text(), results))


def filled(document: str, results: Found) -> str:
    """Return the document with the table of these results."""
    return _TABLE.sub(lambda _: text(results), document)


def text(results: Found) -> str:
    """Return the table."""
    arms = [arm for arm in ARMS if arm.name in results["arms"]]
    return table(["", *(arm.title for arm in arms)], _rows(arms, results))


def _rows(arms: list[Arm], results: Found) -> Iterator[list[str]]:
    def row(title: str, cell: Callable[[Found], object]) -> list[str]:
        return [title, *(str(cell(results["arms"][arm.name])) for arm in arms)]

    one = results["arms"][arms[0].name]
    yield row("lines to write", lambda found: sum(found["lines"].values()))
    for name, title in ARRIVED.items():
        yield row(f"arrived: {title}", _arrived(name))
    writes = sum(one[name]["writes"] for name in NEEDLESS)
    yield row(f"messages after {writes} writes that changed nothing shown", _needless)
    yield row("sockets closed at sign-out", _closed)
    yield row("messages to those who signed out", lambda found: found["signed_out"]["messages"])
    yield row(f"queries a change, for {one['tabs']['tabs']} tabs of one viewer", _executions)


def _arrived(name: str) -> Callable[[Found], str]:
    return lambda found: f"{found[name]['arrived']} of {found[name]['writes']}"


def _needless(found: Found) -> int:
    """Return the messages that came without a change, whatever was written."""
    kinds = (*ARRIVED, *NEEDLESS)
    return sum(int(found[name]["without_change"]) for name in kinds)


def _closed(found: Found) -> str:
    return f"{found['signed_out']['closed']} of {found['signed_out']['viewers']}"


def _executions(found: Found) -> str:
    return f"{found['tabs']['executions']:g}"
