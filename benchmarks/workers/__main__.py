"""`python -m benchmarks.workers`: measure several workers together, and write docs/scale.md."""

import argparse
import os
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks import accounts, machine
from benchmarks.database import PostgreSQLDatabase
from benchmarks.workers import report
from benchmarks.workers.measuring import Point, loads, measure
from benchmarks.writer import writer


def main() -> None:
    """Run, or with `report` only write the tables of the last full run anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--quick", action="store_true", help="a little of each, kept nowhere")
    arguments = parser.parse_args()
    os.environ["ENV_FILE"] = os.devnull  # for every server: nobody's own .env counts
    points = report.read() if arguments.command == "report" else run(is_quick=arguments.quick)
    if arguments.quick:
        print(report.measured(points))
        return
    report.write(points)
    print(report.measured(points), report.model(points), sep="\n\n")


def run(*, is_quick: bool) -> list[Point]:
    """Measure, and show what is being done."""
    machine.allow_many_sockets()
    every = list(loads(is_quick=is_quick))
    points = []
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(PostgreSQLDatabase()) as database,
        writer(database.writer_url) as writing,
    ):
        accounts.create(database, max(load.subscribers for load in every if load.kind != "equal"))
        # What servers send is not to be logged, or the database would be busy with that.
        database.server_url = database.writer_url
        for number, load in enumerate(every, 1):
            what = f"{load.workers} workers, {load.subscribers:,} subscribers ({load.kind})"
            print(f"[{number:2}/{len(every)}] {what}: ", end="", flush=True)
            point = measure(database, writing, load, Path(folder))
            points.append(point)
            print(f"{point.change_ms:.2f} + {point.database_ms:.2f} ms a change", flush=True)
    return points


if __name__ == "__main__":
    main()
