"""Draw the plots of the report, readable on light and on dark pages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

from benchmarks.orm import ARMS as ORM_ARMS
from benchmarks.results import Record, Results
from benchmarks.titles import TITLES
from benchmarks.viewing import OWN
from benchmarks.wording import number
from benchmarks.writers import FEEDS

# In the middle between black and white, on no ground: seen on both.
GRAY: Final = "#808890"
OURS: Final = "#e8590c"
OTHERS: Final = (
    "#4c8fd6", "#3da35d", "#a46bd1", "#c9a227", "#2aa5a0", "#d1607f", "#8a8f45", "#7d8790",
)  # fmt: skip


def draw(results: Results, folder: Path) -> None:
    """Write each plot that has data, as SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    main = list(results.of("delivery", database="postgresql", is_main=1))
    cost = "server CPU for each delivered message, µs (logarithmic)"
    _bars(folder / "message", main, "message_us", cost)
    viewers = list(results.of(OWN, viewers=1000, changes_a_second=10))
    cost = "server CPU for a change that concerns one viewer, ms (logarithmic)"
    _bars(folder / "viewers", viewers, "change_ms", cost)
    growth = [each for each in _of(results, changes_a_second=1) if each.has("p99_ms")]
    _lines(folder / "subscribers", growth, "subscribers", "p99_ms", "p99 of the latency, ms")
    changing = [each for each in _of(results, subscribers=1000) if each.has("busy_share")]
    _lines(folder / "changes", changing, "changes_a_second", "busy_share", "server CPU, processors")
    far = list(results.of("orm", latency_ms=5))
    pace = "queries a second, database 5 ms away"
    _lines(folder / "orm", far, "callers", "queries_a_second", pace, ORM_ARMS)
    _writers(results, folder)


def _of(results: Results, **case: int) -> Iterator[Record]:
    return results.of("delivery", database="postgresql", is_distinct=0, **case)


def _bars(path: Path, records: Sequence[Record], figure: str, label: str) -> None:
    found = [record for record in records if record.has(figure)]
    found.sort(key=lambda record: record.median(figure), reverse=True)
    if not found:
        return
    with _figure(path, height=0.8 + 0.26 * len(found)) as axes:
        names = [str(record.case["arm"]) for record in found]
        values = [record.median(figure) for record in found]
        colors = [OURS if name == "ours" else OTHERS[0] for name in names]
        bars = axes.barh([TITLES[name] for name in names], values, color=colors)
        axes.bar_label(bars, [number(value) for value in values], padding=4, color=GRAY)
        axes.set_xscale("log")
        axes.set_xlim(min(1, min(values) / 2), max(values) * 3)
        axes.set_xlabel(label)


def _lines(
    path: Path,
    records: Sequence[Record],
    across: str,
    figure: str,
    label: str,
    titles: Mapping[str, str] = TITLES,
) -> None:
    if len({record.case[across] for record in records}) < 2:
        return
    with _figure(path, height=4.2) as axes:
        others = cycle(OTHERS)
        for name in titles:
            points = sorted(
                (float(each.case[across]), each.median(figure), *each.spread(figure))
                for each in records
                if each.case["arm"] == name
            )
            if len(points) < 2:
                continue
            x, y, least, most = zip(*points, strict=True)
            color = OURS if name == "ours" else next(others)
            width = 2.6 if name == "ours" else 1.4
            axes.plot(x, y, "o-", color=color, linewidth=width, markersize=4, label=titles[name])
            axes.fill_between(x, least, most, color=color, alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sorted({float(each.case[across]) for each in records}))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: number(value))
            axis.set_minor_formatter("")
        axes.set_xlabel(across.replace("_", " "))
        axes.set_ylabel(label)
        _explain(axes)


def _writers(results: Results, folder: Path) -> None:
    numbers = sorted({int(record.case["writers"]) for record in results.of("writers")})
    if not numbers:
        return
    with _figure(folder / "writers", height=3.2) as axes:
        for place, (feed, color) in enumerate(zip(FEEDS, (GRAY, OTHERS[0], OURS), strict=True)):
            found = [results.one("writers", feed=feed, writers=each) for each in numbers]
            values = [each.median("commits_a_second") if each else 0.0 for each in found]
            positions = [index + (place - 1) * 0.27 for index in range(len(numbers))]
            bars = axes.bar(positions, values, 0.25, color=color, label=feed)
            axes.bar_label(bars, [number(value) for value in values], color=GRAY, fontsize=7)
        axes.set_xticks(range(len(numbers)), [str(each) for each in numbers])
        axes.set_xlabel("connections that write")
        axes.set_ylabel("commits a second")
        _explain(axes)


def _explain(axes: Any) -> None:
    axes.legend(
        frameon=False, labelcolor=GRAY, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )


@contextmanager
def _figure(path: Path, height: float) -> Iterator[Any]:
    style: dict[Any, Any] = {
        "svg.hashsalt": path.name,
        "svg.fonttype": "none",
        "text.color": GRAY,
        "font.size": 9,
        "axes.edgecolor": GRAY,
        "axes.labelcolor": GRAY,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": GRAY,
        "ytick.color": GRAY,
    }
    with mpl.rc_context(style):
        figure, axes = plt.subplots(figsize=(7.5, height), layout="constrained")
        yield axes
        figure.savefig(path.with_suffix(".svg"), transparent=True, metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), transparent=True, dpi=144)
        plt.close(figure)
