"""Run all tests, on both databases at once, since tests wait more than they work.

`python -m tests`. What is about PostgreSQL itself has a server of its own, and the one module that
takes long by itself runs beside them.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
LONG = FOLDER / "test_own_domain.py"  # which a project with its own domain has not
ABOUT_POSTGRESQL = [str(FOLDER / "changes"), str(FOLDER / "database")]
# Of those on SQLite, about half.
OVER_THE_WIRE = [
    str(folder)
    for name in ("protocols", "web", "deploy", "orders")
    if (folder := FOLDER / name).exists()  # A project with its own domain has no orders.
]
POSTGRESQL = ["--database", "postgresql"]
SQLITE = ["--database", "sqlite"]
RUNS = {
    "sqlite": [*SQLITE, *(f"--ignore={each}" for each in (LONG, *OVER_THE_WIRE))],
    "its server": [*SQLITE, *OVER_THE_WIRE],
    "postgresql": [*POSTGRESQL, *(f"--ignore={each}" for each in (LONG, *ABOUT_POSTGRESQL))],
    "feed, orm": [*POSTGRESQL, *ABOUT_POSTGRESQL],
    **({"own domain": [str(LONG)]} if LONG.exists() else {}),
}


def run(name: str) -> int:
    """Run some tests, with their name before each line; return the exit code."""
    command = [sys.executable, "-m", "pytest", *RUNS[name]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as pytest:
        for line in pytest.stdout or ():
            print(f"{name:<10} | {line}", end="", flush=True)
    return pytest.returncode


if __name__ == "__main__":
    with ThreadPoolExecutor() as threads:
        sys.exit(max(map(abs, threads.map(run, RUNS))))
