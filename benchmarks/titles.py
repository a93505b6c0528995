"""What the arms are called in the report, and in which order they come."""

from collections.abc import Iterable
from typing import Final

from benchmarks.arms import ARMS, VIEWER_ARMS
from benchmarks.orm import ARMS as ORM_ARMS
from benchmarks.results import Record

TITLES: Final = {arm.name: arm.title for arm in (*ARMS, *VIEWER_ARMS)}


def arm_title(name: str) -> str:
    """What the arm is called, ours in bold."""
    title = TITLES.get(name) or ORM_ARMS.get(name, name)
    return f"**{title}**" if name == "ours" else title


def in_order(records: Iterable[Record]) -> list[Record]:
    """The records, as their arms come in every table."""
    order = list(TITLES)
    return sorted(records, key=lambda record: order.index(str(record.case["arm"])))
