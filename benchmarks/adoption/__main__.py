"""`python -m benchmarks.adoption`: compare what a team writes, and what its customers get."""

import argparse
import asyncio
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.adoption import report
from benchmarks.adoption.arms import ARMS
from benchmarks.adoption.measuring import FULL, QUICK, Scale, measure
from benchmarks.adoption.servers import redis
from benchmarks.database import PostgreSQLDatabase

PACKAGES: Final = (
    "django",
    "ariadne",
    "strawberry-graphql",
    "strawberry-graphql-django",
    "channels",
    "channels-redis",
    "redis",
    "uvicorn",
)


def main() -> None:
    """Run, or with `report` only count the lines and write the table anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adoption", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--quick", action="store_true", help="a little of each, kept nowhere")
    arguments = parser.parse_args()
    if arguments.command == "report":
        results = report.read()
        for arm in ARMS:
            results["arms"][arm.name]["lines"] = arm.lines()
    else:
        results = run(QUICK if arguments.quick else FULL)
    print(report.text(results))
    if arguments.quick:
        return
    if len(results["arms"]) < len(ARMS):
        raise SystemExit("Redis is needed for a full run: apt-get install redis-server")
    report.write(results)


def run(scale: Scale) -> dict[str, Any]:
    """Measure all arms, one after the other."""
    found = {}
    with (
        tempfile.TemporaryDirectory(prefix="shop") as folder,
        closing(PostgreSQLDatabase()) as postgresql,
        redis(Path(folder)) as address,
    ):
        for arm in ARMS:
            if arm.needs_redis and not address:
                print(f"Without redis-server, {arm.title} is left out.", flush=True)
                continue
            print(f"{arm.title} ...", flush=True)
            measured = asyncio.run(measure(arm, postgresql, address, Path(folder), scale))
            found[arm.name] = {"lines": arm.lines()} | measured
    return {"versions": {name: version(name) for name in PACKAGES}, "arms": found}


if __name__ == "__main__":
    main()
