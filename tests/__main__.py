"""Run all tests, on both databases at once, since tests wait more than they work.

`python -m tests`. The one module that takes long by itself runs beside them.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LONG = Path(__file__).parent / "test_own_domain.py"  # which a project with its own domain has not
RUNS = {
    "sqlite": ["--database", "sqlite", f"--ignore={LONG}"],
    "postgresql": ["--database", "postgresql", f"--ignore={LONG}"],
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
