"""Every figure of the benchmarks that a document shows is one that was measured."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.results import FILE, Record, Results
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


@pytest.mark.parametrize("plot", ["message", "subscribers", "changes", "orm", "writers"])
def test_plots_are_kept_in_both_formats(plot: str) -> None:
    """For pages, and for what cannot show SVG."""
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
