"""Run all tests on both databases at once, since tests wait more than they work.

`python -m tests [arguments for pytest]`
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

DATABASES = ("sqlite", "postgresql")


def run(database: str) -> int:
    """Run the tests on one database, with its name before each line; return the exit code."""
    command = [sys.executable, "-m", "pytest", "--database", database, *sys.argv[1:]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as pytest:
        for line in pytest.stdout or ():
            print(f"{database:<10} | {line}", end="", flush=True)
    return pytest.returncode


if __name__ == "__main__":
    with ThreadPoolExecutor() as threads:
        sys.exit(max(map(abs, threads.map(run, DATABASES))))
