"""A team puts its own domain in place of the orders, by docs/own-domain.md and nothing else."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients import connect
from tests.server import ROOT, ProjectServer

PAGE = (ROOT / "docs" / "own-domain.md").read_text()
NOT_CLONED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "node_modules", "dist", "*.sqlite3"
)

pytestmark = pytest.mark.only("sqlite")


class Clone:
    """A clone of the project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=NOT_CLONED)
        self.run("git init -q && git add --all")

    def run(self, command: str) -> str:
        """Run a command in it, as in its environment; what it prints. Raises if it fails."""
        binaries = str(Path(sys.executable).parent)
        done = subprocess.run(
            command, shell=True, cwd=self.folder, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={
                "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
                "DATABASE_URL": "sqlite:///db.sqlite3",
                "DEBUG": "true",
            },
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which everything has been done that the page says."""
    clone = Clone(tmp_path_factory.mktemp("clone") / "own")
    [commands] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    clone.run(commands.replace("git rm", "git rm --force"))  # what is not committed here
    files = re.findall(
        r"^\*\*`(notes/\S+)`\*\*.*?^```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    assert len(files) == 5
    for name, text in files:
        (clone.folder / name).write_text(text)
    clone.run("python manage.py makemigrations notes && python manage.py migrate")
    clone.run("ruff format . && ruff check --fix .")
    return clone


def test_nothing_asks_for_orders_any_more(clone: Clone) -> None:
    clone.run("ruff format --check . && ruff check . && lint-imports")
    clone.run("python manage.py makemigrations --check --dry-run")
    kept = {path.name for path in (clone.folder / "tests").iterdir()}
    assert kept >= {"changes", "database", "graphql", "live", "protocols", "transports", "web"}


@pytest.mark.timeout(300)  # They are many.
def test_tests_of_the_machinery_still_pass(clone: Clone) -> None:
    """Some of the feed and over the wire; of the others, that they find what they need."""
    run = "python -m pytest -q"
    some = (
        "tests/changes/test_changes.py tests/protocols/test_http.py tests/protocols/test_endings.py"
    )
    assert " passed" in clone.run(f"{run} {some}")
    folders = ("changes", "database", "deploy", "graphql", "live", "protocols", "transports", "web")
    clone.run(f"{run} --collect-only {' '.join(f'tests/{name}' for name in folders)}")


async def test_new_domain_is_live(clone: Clone, tmp_path: Path) -> None:
    file = clone.folder / "db.sqlite3"
    server = ProjectServer(tmp_path / "log", f"sqlite:///{file}", DEBUG="true", OPEN_ACCESS="true")
    server.folder = clone.folder
    with server:
        async with connect(server.websocket) as client:
            await client.subscribe("subscription { notes { text author } }")
            assert await client.next() == {"notes": []}
            await asyncio.to_thread(write, file)
            assert await client.next() == {"notes": [{"text": "Hello", "author": "ada"}]}
    assert "Traceback" not in server.log


def write(file: Path) -> None:
    """What another program does."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO auth_user (id, username, password, is_superuser, is_staff, is_active,"
            " email, first_name, last_name, date_joined)"
            " VALUES (1, 'ada', '', 0, 0, 1, '', '', '', 0)"
        )
        connection.execute(
            "INSERT INTO notes_note (text, is_public, author_id) VALUES ('Hello', 1, 1)"
        )
