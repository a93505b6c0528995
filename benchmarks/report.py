"""Write the report of a run: what to conclude, then tables and plots, then how it was measured."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.conclusions import conclusions, quotable
from benchmarks.database import ROOT
from benchmarks.results import Results
from benchmarks.tables import tables
from benchmarks.targets import targets
from benchmarks.wording import table

INTRODUCTION: Final = (
    "What does one gain over asking the database in a thread, each second, for each subscriber? "
    "This page is written by `make bench`, which measures all of it in one harness; the figures "
    "of all rounds are in [results/results.json](results/results.json)."
)
WARNING: Final = (
    "**This is of a quick run, which shows that everything works and says nothing about speed.**"
)
METHOD: Final = Path(__file__).with_name("METHOD.md")
_QUOTE: Final = re.compile(r"<!--bench ([a-z0-9-]+)-->(.*?)<!--/bench-->", re.DOTALL)


def write(results: Results, folder: Path) -> Path:
    """Write README.md and its plots below `folder`, and the figures quoted elsewhere."""
    from benchmarks import plots  # Only who writes needs what draws.

    plots.draw(results, folder / "results")
    path = folder / "README.md"
    path.write_text(text(results))
    if folder == Path(__file__).parent:
        for document in documents():
            quoted = quote(document.read_text(), results)
            if quoted != document.read_text():
                document.write_text(quoted)
    return path


def text(results: Results) -> str:
    """The whole report."""
    return (
        "\n\n".join(
            [
                "# What it costs to keep subscribers up to date",
                INTRODUCTION,
                *([WARNING] if results.about["is_quick"] else []),
                "## What to conclude",
                conclusions(results),
                "## Targets",
                targets(results),
                tables(results),
                METHOD.read_text().strip(),
                "## Machine and versions",
                _about(results),
            ]
        )
        + "\n"
    )


def documents() -> Iterator[Path]:
    """All documents of the project that may quote figures."""
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts
        if not any(part.startswith(".") or part == "node_modules" for part in parts):
            yield path


def quote(document: str, results: Results) -> str:
    """The document with its `<!--bench NAME-->…<!--/bench-->` figures as the results have them.

    Raises KeyError for a name that is none of `quotable`.
    """
    figures = quotable(results)
    return _QUOTE.sub(
        lambda found: f"<!--bench {found[1]}-->{figures[found[1]]}<!--/bench-->", document
    )


def _about(results: Results) -> str:
    about = results.about
    machine, versions = about["machine"], about["versions"]
    rounds = "one round" if about["rounds"] == 1 else f"{about['rounds']} rounds"
    sentence = (
        f"{machine['processor']}, {machine['processors']} processors, {machine['memory_gb']} GB, "
        f"{machine['system']}. {rounds} in {about['minutes']:g} minutes."
    )
    return f"{sentence}\n\n{table(['', 'version'], versions.items())}"
