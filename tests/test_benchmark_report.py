"""Every figure of the benchmarks that a document shows is one that was measured."""

from pathlib import Path

import pytest

from benchmarks import attacks, conclusions, orm, report, tables, targets
from benchmarks.adoption import report as adoption
from benchmarks.adoption.arms import ARMS, Arm
from benchmarks.adoption.lines import count
from benchmarks.attacks import ATTACKS
from benchmarks.queries import VIEWER_QUERIES
from benchmarks.results import FILE, Record, Results, Situation
from benchmarks.unread import ANSWERS, UNREAD
from benchmarks.viewing import BACK, OWN, SHARED
from benchmarks.wording import number, ratio, ratio_spread, spread
from benchmarks.workers import report as workers

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
            figures = dict.fromkeys(("net_change_ms", "p50_ms", "p99_ms", "to_others", "lost"), 0.0)
            each = {"connect_us": 1100.0, "memory_kb": 50.0, "idle_share": 0.015}
            found.add(OWN, case, figures | each | {"change_ms": cost * pace})
        found.add(
            SHARED,
            {"arm": arm, "viewers": 1000},
            {"last_ms": 400.0, "viewer_us": cost * 100, "lost": 0.0},
        )
        back = {"back_seconds": cost, "back_us": 1200.0}
        found.add(BACK, {"arm": arm, "viewers": 1000}, back)
        query = {"requests_a_second": 600.0, "request_us": 1400.0, "p50_ms": 16.0, "p99_ms": 25.0}
        found.add(VIEWER_QUERIES, {"arm": arm, "orders": 1, "clients": 10}, query)
    return found


def test_viewers_who_see_only_their_own_have_tables(viewers: Results) -> None:
    """For what one of them costs, and for changes that concern one of them, and all."""
    text = tables.tables(viewers)
    assert "## A viewer who has signed in" in text
    row = "1,100 (1,100 to 1,100) | 50 | 1.5 | - | 2 (2 to 2) | 1,200 |"
    assert text.count(f"| **this project** | {row}") == 1, "once, whatever the pace"
    assert "## Queries over HTTP of viewers who have signed in" in text
    assert "| **this project** | 16, 25 |" in text
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
    figures: dict[str, float | None] = {"connect_us": 9.0, "net_change_ms": 1.0, "p99_ms": 9.0}
    viewers.add(OWN, case, figures | {"to_others": 1, "lost": 0})
    assert "| 1 to others, 0 lost | **no** |" in targets.targets(viewers)


def test_targets_say_what_a_viewer_may_cost(viewers: Results) -> None:
    """To connect, to be kept, to come back, and to query over HTTP."""
    text = targets.targets(viewers)
    assert "to connect one, with the first result | 1.1 ms | yes |" in text
    assert "45 KB of memory for each | 50 | **no** |" in text
    assert "all have their result within 3 s | 2 s | yes |" in text
    assert "at most 1.3 ms of CPU | 1.4 ms | **no** |" in text


@pytest.fixture
def attacked() -> Results:
    """A run in which somebody attacked, and others hardly noticed."""
    found = Results({"is_quick": False})
    for scene, longest in (("idle", 9.0), ("costly", 250.0), ("mutations", 450.0)):
        figures = {"probe_ms": longest / 3, "longest_probe_ms": longest, "probes": 90.0}
        found.add(
            ATTACKS,
            {"scene": scene, "database": "sqlite"},
            figures
            | {"probe_errors": 0.0, "cpu_seconds": 5.0, "seconds": 5.1, "memory_mb": 12.0}
            | {"results": 3.0, "refused TOO_MANY_OPERATIONS": 1234.0},
        )
    found.add(ANSWERS, {"request": "40 lists"}, {"answer_mb": 1.0})
    found.add(UNREAD, {"transport": "HTTP", "messages": 100}, {"memory_mb": 3.9})
    return found


def test_attacks_have_a_table_and_a_conclusion(attacked: Results) -> None:
    """It tells how somebody else fared, and what was refused."""
    text = tables.tables(attacked)
    assert "| a user's mutations | SQLite | 150 | 450 | 90 | 0 |" in text
    assert "| 5.0 | 5.1 | 12.0 | 3 | TOO_MANY_OPERATIONS 1,230 |" in text
    assert "1,020 KB to 40 lists." in text
    gains, _ = conclusions.conclusions(attacked).split("Where this project is not better")
    assert "never more than 450 ms (attack: a user's mutations); otherwise it takes 3 ms" in gains
    assert conclusions.quotable(attacked)["attack-costly-sqlite-longest-ms"] == "250"


def test_worst_round_of_an_attack_counts(attacked: Results) -> None:
    """Who was kept waiting once was kept waiting."""
    assert "costly subscriptions: at most 0.3 s | 0.25 s | yes |" in targets.targets(attacked)
    case: Situation = {"scene": "costly", "database": "sqlite"}
    attacked.add(ATTACKS, case, {"longest_probe_ms": 310.0})
    text = targets.targets(attacked)
    assert "costly subscriptions: at most 0.3 s | 0.31 s | **no** |" in text
    assert "mutations on SQLite: at most 0.5 s | 0.45 s | yes |" in text
    assert "at most 1 MB | 1.00 MB | yes |" in text
    assert "over HTTP that does not read: at most 4 MB | 3.9 MB | yes |" in text


@pytest.mark.parametrize("allowed", range(14))
def test_most_that_is_allowed_is_found(allowed: int) -> None:
    """None may be, or all."""
    assert attacks.most(13, lambda number: number <= allowed) == allowed


def test_orm_arm_that_loads_other_columns_is_refused() -> None:
    """What loads fewer has less to do."""
    query = b'SELECT "orders_order"."id", "auth_user"."id" FROM "orders_order" INNER JOIN ...'
    columns = {'"orders_order"."id"', '"auth_user"."id"'}
    orm.require_columns("ours", [b"BEGIN", query], columns)
    with pytest.raises(RuntimeError, match=r'it differs in "auth_user"."email"\.'):
        orm.require_columns("ours", [query], columns | {'"auth_user"."email"'})
    with pytest.raises(RuntimeError, match="has read no order"):
        orm.require_columns("ours", [b"BEGIN"], columns)


def test_page_of_scale_is_written_from_what_was_measured() -> None:
    document, points = workers.PAGE.read_text(), workers.read()
    assert workers.measured(points) in document, "Run `python -m benchmarks.workers report`."
    assert document == workers.filled(document, points)
    assert all(each.lost == 0 for each in points)


def test_comparison_in_the_readme_is_what_was_counted() -> None:
    """Nobody has edited it."""
    document = adoption.README.read_text()
    assert adoption.text(adoption.read()) in document, "Run `make bench-adoption`."
    assert document == adoption.filled(document, adoption.read())


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_lines_to_write_are_those_of_the_files(arm: Arm) -> None:
    """What was counted is what is there."""
    counted = adoption.read()["arms"][arm.name]["lines"]
    assert counted == arm.lines(), "Run `python -m benchmarks.adoption report`."


def test_lines_without_code_are_not_counted(tmp_path: Path) -> None:
    """Blank lines, comments, docstrings, and what is imported from the existing settings."""
    python, schema = tmp_path / "some.py", tmp_path / "some.graphql"
    python.write_text(
        '"""Two\nlines."""\n\n# Why.\nfrom benchmarks.adoption.settings import DEBUG\n\n'
        'NAMES = [  # of whom\n    "one",\n    """two\n    lines""",\n]\n\n\n'
        'def name() -> str:\n    """Return it."""\n    return NAMES[DEBUG]\n'
    )
    schema.write_text(
        '"What is asked."\ntype Query {\n  # Of whom?\n  "It."\n  name: String\n\n}\n'
    )
    assert (count(python), count(schema)) == (7, 3)


def test_current_rows_come_first_everywhere() -> None:
    """As README.md says of all that it compares."""
    for found in adoption.read()["arms"].values():
        assert found["current_first"] == found["viewers"]
