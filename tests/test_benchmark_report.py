"""Every figure of the benchmarks that a document shows is one that was measured."""

from pathlib import Path

import pytest

from benchmarks import conclusions, report, tables, targets
from benchmarks.results import FILE, Record, Results, Situation
from benchmarks.viewing import OWN, SHARED
from benchmarks.wording import number, ratio, ratio_spread, spread

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def results() -> Results:
    """Those of the last full run."""
    return Results.read(FILE)


def test_report_is_written_from_the_results(results: Results) -> None:
    """Nobody has edited it, and it is as new as they are."""
    written = (Path(report.__file__).parent / "README.md").read_text()
    assert written == report.text(results), "Run `make bench-report`."


def test_report_is_of_a_full_run(results: Results) -> None:
    """A quick run says nothing about speed."""
    assert not results.about["is_quick"]


@pytest.mark.parametrize("document", list(report.documents()), ids=lambda path: path.name)
def test_documents_quote_what_was_measured(document: Path, results: Results) -> None:
    """Each `<!--bench NAME-->` figure is that of the results."""
    text = document.read_text()
    assert text == report.quote(text, results), "Run `make bench-report`."


@pytest.mark.parametrize("plot", ["message", "subscribers", "changes", "viewers", "orm", "writers"])
def test_plots_are_kept_in_both_formats(plot: str, results: Results) -> None:
    """For pages, and for what cannot show SVG."""
    if plot == "viewers" and results.one(OWN) is None:
        pytest.skip("The last full run had no viewers.")
    for suffix in (".svg", ".png"):
        assert FILE.with_name(plot).with_suffix(suffix).stat().st_size > 1000


def test_figures_are_read_from_rounds() -> None:
    """The middle one counts, the others show how much to believe it."""
    record = Record("delivery", {}, {"message_us": [31.25, 24.9, 26.02]})
    assert spread(record, "message_us") == "26 (25 to 31)"
    assert spread(record, "p99_ms") == "-"


def test_quoted_figure_is_replaced(results: Results) -> None:
    """The text around it stays."""
    record = results.one("delivery", arm="ours", database="postgresql", is_main=1)
    assert record is not None
    text = "costs <!--bench message-us-ours-->0<!--/bench--> µs"
    expected = number(record.median("message_us"))
    assert report.quote(text, results) == (
        f"costs <!--bench message-us-ours-->{expected}<!--/bench--> µs"
    )


def test_numbers_have_few_digits() -> None:
    """More would be noise."""
    assert [number(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.1234, 8.0)] == [
        "12,300", "123", "12", "1.2", "0.12", "8",
    ]  # fmt: skip
    assert ratio([4, 10 / 3, 3]) == "3.3"
    assert ratio_spread([4, 10 / 3, 3]) == "3.3 (3 to 4)"


@pytest.fixture
def viewers() -> Results:
    """A run with viewers who see only their own, in which this project was the cheaper one."""
    found = Results({"is_quick": False})
    for arm, cost in (("ours", 2.0), ("graphql-ws-topics", 3.0)):
        for pace in (10, 100):
            case: Situation = {"arm": arm, "viewers": 1000, "changes_a_second": pace}
            figures = dict.fromkeys(
                ("connect_us", "net_change_ms", "p50_ms", "p99_ms", "to_others", "lost"), 0.0
            )
            found.add(OWN, case, figures | {"idle_share": 0.015, "change_ms": cost * pace})
        found.add(
            SHARED,
            {"arm": arm, "viewers": 1000},
            {"last_ms": 400.0, "viewer_us": cost * 100, "lost": 0.0},
        )
    return found


def test_viewers_who_see_only_their_own_have_tables(viewers: Results) -> None:
    """One for changes that concern one of them, and one for changes that concern all."""
    text = tables.tables(viewers)
    assert "## A change that concerns one viewer" in text
    assert "| **this project** | 100 | 200 (200 to 200) |" in text
    assert "## A change that concerns all viewers at once" in text
    assert "| **this project** | 400 (400 to 400) | 200 (200 to 200) | - | - | - | - |" in text


def test_conclusion_on_viewers_says_who_is_better(viewers: Results) -> None:
    """What costs less than with all others is a gain."""
    gains, limits = conclusions.conclusions(viewers).split("Where this project is not better")
    assert "costs the server 20 ms" in gains
    assert "30 ms with graphql-ws on Node" in gains
    assert "costs the server 200 µs" in gains
    assert "viewers" not in limits
    assert conclusions.quotable(viewers)["1000-viewers-change-ms-ours"] == "20"
    assert conclusions.quotable(viewers)["1000-viewers-at-once-last-ms-ours"] == "400"


def test_message_to_somebody_else_misses_the_target(viewers: Results) -> None:
    """It would be somebody's secret."""
    assert "| 0 to others, 0 lost | yes |" in targets.targets(viewers)
    case: Situation = {"arm": "ours", "viewers": 10_000, "changes_a_second": 100}
    figures: dict[str, float | None] = {"net_change_ms": 1.0, "p99_ms": 9.0}
    viewers.add(OWN, case, figures | {"to_others": 1, "lost": 0})
    assert "| 1 to others, 0 lost | **no** |" in targets.targets(viewers)
