"""One run; exit code 1, with the seed and the first violation, if something does not hold."""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import django

from tests.chaos.postgresql import DATABASE, USER
from tests.server import free_port


def main() -> int:
    """Run as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", default="", help="what replays a plan; default: a new one")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--kinds", default="", help="faults, with commas between; default: all")
    arguments = parser.parse_args()
    if arguments.database == "sqlite":
        become_root(sys.argv[1:])
    seed = arguments.seed or str(random.randrange(1_000_000))
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if nginx is None:
        sys.exit("nginx is needed: apt-get install nginx-light")
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    folder.chmod(0o755)  # PostgreSQL, which is somebody else, has its folder in it.
    url = f"sqlite:///{folder}/disk/db.sqlite3"
    if arguments.database == "postgresql":
        url = f"postgres://{USER}@127.0.0.1:{free_port()}/{DATABASE}"
    configure(url)

    from tests.chaos.run import Options, run
    from tests.chaos.world import ViolationError

    print(f"Seed {seed}. Logs are in {folder}.", flush=True)
    options = Options(
        seed, arguments.seconds, arguments.database, folder, url, nginx,
        tuple(filter(None, arguments.kinds.split(","))),
    )  # fmt: skip
    try:
        report = asyncio.run(run(options))
    except ViolationError as violation:
        what, report = violation.args
        print(f"{report.text()}\n\nSeed {seed}, the first violation:\n{what}\n\nLogs: {folder}")
        return 1
    print(report.text())
    shutil.rmtree(folder)
    return 0


def become_root(arguments: list[str]) -> None:
    """Run again in a namespace of one's own, if that is possible and needed to mount a disk."""
    command = ["unshare", "--map-root-user", "--mount"]
    if os.geteuid() == 0 or shutil.which("unshare") is None:
        return
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        os.execvp("unshare", [*command, sys.executable, "-m", "tests.chaos", *arguments])


def configure(database_url: str) -> None:
    """Set up Django as the servers of the run have it."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.items.settings",
        "DATABASE_URL": database_url,
        "DATABASE_LISTEN_URL": "",
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "only for tests, where nothing is secret",
        "DEBUG": "false",
        "HTTPS": "false",
        "OPEN_ACCESS": "false",
    }
    django.setup()


if __name__ == "__main__":
    sys.exit(main())
