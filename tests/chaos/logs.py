"""Read the servers' logs: one clear line an event, and nothing that a developer has to explain."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

COMPLAINTS: Final = re.compile(
    r"Traceback|was never retrieved|Exception in|ASGI callable|ERROR|CRITICAL"
)
ALLOWED: Final = (
    # One line for each request that the database's absence has failed.
    re.compile(r"ERROR app\.graphql\.errors: The database did not answer"),
    re.compile(r"ERROR app\.authentication\.asking: A viewer could not be loaded"),
    re.compile(r"ERROR django\.request: .*: the database did not answer"),
)
REQUEST: Final = re.compile(r'INFO uvicorn\.\w+: \S+ - "|^INFO: +\S+ - "')
"""uvicorn's line for each request."""
VARYING: Final = re.compile(r"\d+")
MAX_CHARACTERS: Final = 150


def complaint(log: str) -> str | None:
    """Return the first lines that must not be there, with what surrounds them."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if COMPLAINTS.search(line) and not any(each.search(line) for each in ALLOWED):
            return "\n".join(lines[max(0, number - 3) : number + 60])
    return None


def count_lines(logs: Iterable[Path]) -> Counter[str]:
    """Count the lines that say the same but for their numbers; requests are not told apart."""
    found: Counter[str] = Counter()
    for log in logs:
        for line in log.read_text().splitlines():
            shape = VARYING.sub("#", "a request" if REQUEST.match(line) else line)
            found[shape[:MAX_CHARACTERS]] += 1
    return found
