"""`python -m benchmarks`: measure everything, and write the report."""

import argparse
import os
import time
from contextlib import ExitStack
from dataclasses import replace

from benchmarks import machine, report
from benchmarks.plan import SECTIONS, prepare
from benchmarks.results import FILE, FOLDER, Results
from benchmarks.scale import FULL, QUICK, Scale


def main() -> None:
    """Run, or with `report` only write the report of the last run anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--quick", action="store_true", help="a little of everything, in a minute")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--only", choices=SECTIONS, help="leave out all other sections")
    arguments = parser.parse_args()
    os.environ["ENV_FILE"] = os.devnull  # for every server: nobody's own .env counts
    if arguments.command == "report":
        report.write(Results.read(), FOLDER.parent)
        return
    scale = QUICK if arguments.quick else FULL
    if arguments.rounds:
        scale = replace(scale, rounds=arguments.rounds)
    results = run(scale, arguments.only)
    if arguments.quick or arguments.only:
        # What is printed and kept in the repository comes from the full run alone.
        folder = FOLDER / "quick"
        results.write(folder / "results.json")
    else:
        folder = FOLDER.parent
        results.write(FILE)
    print(f"\n{report.write(results, folder)} has the report.")


def run(scale: Scale, only: str | None = None) -> Results:
    """Measure, and show what is being done."""
    machine.allow_many_sockets()
    machine.all_processors()
    began = time.monotonic()
    with ExitStack() as running:
        os.sched_setaffinity(0, machine.other_processors())
        print("Starting the databases ...", flush=True)
        measuring = prepare(scale, running)
        steps = measuring.steps(only)
        for number, (label, measure) in enumerate(steps, 1):
            minutes, seconds = divmod(int(time.monotonic() - began), 60)
            print(
                f"[{number:3}/{len(steps)}] {minutes:2}:{seconds:02} {label}: ", end="", flush=True
            )
            print(measure(), flush=True)
        measuring.results.about["minutes"] = round((time.monotonic() - began) / 60, 1)
        return measuring.results


if __name__ == "__main__":
    main()
