"""Run all tests, on both databases at once, since tests wait more than they work.

`python -m tests`. What is about PostgreSQL itself, about the server, and about the project as a
whole, and protocols, have runs of their own beside the others. `python -m tests NAME…`
takes only the runs of these names; only so are the pages tested, by `browser`.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BROWSER = "browser"
FOLDER = Path(__file__).parent
ABOUT_POSTGRESQL = ("changes", "database", "replicas")
ABOUT_PROTOCOLS = ("protocols", "authentication")
# Processes of JavaScript, which no database has a part in.
CLIENTS = (
    "authentication/test_token_clients.py",
    "protocols/test_persisted_clients.py",
    "protocols/test_real_clients.py",
)
# What a project with its own domain has not, it lacks.
ABOUT_SERVER = ("web", "orders")
ABOUT_PROJECT = ("test_own_domain.py", "deploy", "adoption", "chaos", "protocols/test_soak.py")
POSTGRESQL = ("--database", "postgresql")
SQLITE = ("--database", "sqlite")


def only(names: tuple[str, ...]) -> list[str]:
    return [str(path) for path in (FOLDER / name for name in names) if path.exists()]


def without(names: tuple[str, ...]) -> list[str]:
    return [f"--ignore={path}" for path in only(names)]


# The longest first.
RUNS = {
    "protocols": [*SQLITE, *only(ABOUT_PROTOCOLS), *without(ABOUT_PROJECT)],
    "feed-orm": [*POSTGRESQL, *only(ABOUT_POSTGRESQL)],
    "postgresql": [*POSTGRESQL, *without(ABOUT_POSTGRESQL + ABOUT_PROJECT + CLIENTS)],
    "server": [*SQLITE, *only(ABOUT_SERVER)],
    "sqlite": [*SQLITE, *without(ABOUT_SERVER + ABOUT_PROJECT + ABOUT_PROTOCOLS)],
    "project": [*SQLITE, *only(ABOUT_PROJECT)],
    "deployment": [*POSTGRESQL, *only(("deploy",))],
    BROWSER: [str(FOLDER / BROWSER)],
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


def main() -> int:
    """Run what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--at-once", type=int, default=4, help="so many runs (4)")
    arguments = parser.parse_args()
    names = arguments.names or [name for name in RUNS if name != BROWSER]
    if unknown := set(names) - set(RUNS):
        parser.error(f"There is no run {', '.join(sorted(unknown))}, but {', '.join(RUNS)}.")
    with ThreadPoolExecutor(arguments.at_once) as threads:
        return max(map(abs, threads.map(run, names)))


if __name__ == "__main__":
    sys.exit(main())
