"""Run all tests, on both databases at once, since tests wait more than they work.

`python -m tests`. What is about PostgreSQL itself, and what is about the server as a whole, has a
run of its own beside the others. `python -m tests NAME…` takes only the runs of these names.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
LONG = FOLDER / "test_own_domain.py"
ABOUT_POSTGRESQL = [str(FOLDER / "changes"), str(FOLDER / "database")]
# Those of the server as a whole, on SQLite; what a project with its own domain has not, it lacks.
SERVER = [
    str(path)
    for path in (LONG, *(FOLDER / name for name in ("web", "deploy", "orders")))
    if path.exists()
]
POSTGRESQL = ["--database", "postgresql"]
SQLITE = ["--database", "sqlite"]
RUNS = {
    "sqlite": [*SQLITE, *(f"--ignore={each}" for each in SERVER)],
    "server": [*SQLITE, *SERVER],
    "postgresql": [*POSTGRESQL, *(f"--ignore={each}" for each in (LONG, *ABOUT_POSTGRESQL))],
    "feed-orm": [*POSTGRESQL, *ABOUT_POSTGRESQL],
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
    names = sys.argv[1:] or list(RUNS)
    if unknown := set(names) - set(RUNS):
        sys.exit(f"There is no run {', '.join(sorted(unknown))}, but {', '.join(RUNS)}.")
    with ThreadPoolExecutor(len(names)) as threads:
        sys.exit(max(map(abs, threads.map(run, names))))
