"""A project follows docs/existing-project.md and docs/testing.md, to the letter."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.clients import connect_as, post_as
from tests.server import ROOT, Server

SKIPPED = "pip install django && "
WHEEL = "dist/live_graphql_django-"
TICKETS = "{ tickets { title tags comments { text } } }"
ON_POSTGRESQL = """
DATABASES["default"] = {
    "ENGINE": "live_graphql.database",
    "NAME": "helpdesk",
    "USER": "%(user)s",
    "PASSWORD": "%(password)s",
    "HOST": "%(host)s",
    "PORT": "%(port)s",
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {"pool": {"min_size": 0, "max_size": 4, "timeout": 5}},
}
"""
FILL = """
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from tickets.models import Tag, Ticket
User = get_user_model()
for name in ("ada", "bob"):
    user = User.objects.create_user(name)
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.create()
    print("session", session.session_key)
Tag.objects.create(word="fire")
Ticket.objects.create(title="It smokes", customer=User.objects.get(username="ada"))
"""


class Block(NamedTuple):
    """What a page has between ```: a file if it is named before, or else commands."""

    file: str
    is_appended: bool
    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """What is to be done, in its order. What has no name and is no command is told only."""
    text = (ROOT / "docs" / page).read_text()
    named = r"(?:^\*\*`([^`\n]+)`\*\*([^\n]*)\n(?:(?!```|\*\*`)[^\n]*\n)*?)?"
    pattern = rf"{named}^```(\w+)\n(.*?)^```"
    for name, more, language, content in re.findall(pattern, text, re.MULTILINE | re.DOTALL):
        if name or language == "sh":
            yield Block(name, "at its end" in more, language, content)


class Project:
    """A Django project in an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "environment" / "bin" / "python"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DJANGO")
        }
        self.environment["PATH"] = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        self.sessions: list[str] = []

    def prepare(self) -> None:
        """Make the wheel and the environment; versions are those of the lock file."""
        self.run(
            sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", ROOT
        )
        venv.create(self.folder / "environment", with_pip=True)
        lock = (ROOT / "requirements-dev.txt").read_text()
        pins = re.sub(r"^ .*\n| \\$", "", lock, flags=re.MULTILINE)
        (self.folder / "pins.txt").write_text(pins)
        self.environment |= {"PIP_CONSTRAINT": "pins.txt", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def follow(self, page: str) -> None:
        """Do what the page says, except serving."""
        for block in blocks(page):
            path = self.folder / block.file
            if block.language == "sh":
                if "runserver" not in block.text and "uvicorn" not in block.text:
                    self.run("sh", "-ec", block.text)
            elif block.is_appended:
                path.write_text(path.read_text() + block.text)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)

    def fill(self) -> None:
        """Create two users who have signed in, and a ticket."""
        self.sessions = re.findall(
            r"^session (\w+)", self.manage("shell", "-c", FILL), re.MULTILINE
        )

    def manage(self, *arguments: str) -> str:
        """Run `manage.py`; what it prints."""
        return self.run(self.python, "manage.py", *arguments)

    def run(self, *command: object) -> str:
        """Run a command in the project. Fail with what it prints if it fails."""
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def server(self, kind: type["ProjectServer"]) -> "ProjectServer":
        """The project's server, not yet started."""
        return kind(self)


class ProjectServer(Server):
    """uvicorn as the page has it, by the project's environment."""

    application = "helpdesk.asgi:application"
    deployment = (
        "--http=live_graphql.web.protocol:LimitedHTTP",
        "--ws-per-message-deflate=false",
        "--ws-max-size=262144",
    )

    def __init__(self, project: Project) -> None:
        super().__init__(project.folder / "log", "")
        self.folder = project.folder
        self.python = str(project.python)
        self._environment = project.environment


class Runserver(ProjectServer):
    """`manage.py runserver`."""

    @property
    def command(self) -> list[str]:
        """What starts it."""
        return [self.python, "manage.py", "runserver", f"127.0.0.1:{self.port}"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, vendor: str) -> Project:
    """The project, when all has been done that the page says."""
    project = Project(tmp_path_factory.mktemp("helpdesk"))
    project.prepare()
    project.follow("existing-project.md")
    return project


@pytest.fixture(scope="module")
def database(project: Project, vendor: str, request: pytest.FixtureRequest) -> Any:
    """The project's database, filled, and a connection that writes to it behind its back."""
    if vendor == "sqlite":
        path = project.folder / "db.sqlite3"
        connection: Any = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    else:
        server = request.getfixturevalue("postgresql")
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("CREATE DATABASE helpdesk")
        url = server.url("helpdesk")
        parts = {"password": "", "port": "", **conninfo_to_dict(url)}
        settings = project.folder / "helpdesk" / "settings.py"
        settings.write_text(settings.read_text() + ON_POSTGRESQL % parts)
        connection = psycopg.connect(url, autocommit=True)
    project.manage("migrate")
    project.fill()
    with closing(connection):
        yield connection


@pytest.mark.timeout(300)  # It installs all that the package needs.
async def test_existing_project_is_live(project: Project, database: Any) -> None:
    assert "no issues" in project.manage("check", "--fail-level", "INFO")
    smoking = {"title": "It smokes", "tags": [], "comments": []}
    ada, bob = (f"sessionid={key}" for key in project.sessions)
    for kind in (Runserver, ProjectServer):
        with project.server(kind) as server:
            assert await post_as(ada, server.http, TICKETS) == {"data": {"tickets": [smoking]}}
            async with (
                connect_as(ada, server.websocket) as adas,
                connect_as(bob, server.websocket) as bobs,
            ):
                for each in (adas, bobs):
                    await each.subscribe(f"subscription {TICKETS}")
                assert await adas.next() == {"tickets": [smoking]}
                assert await bobs.next() == {"tickets": []}
                told = await asyncio.to_thread(project.manage, "live", "--operation", "tickets")
                assert "(helpdesk.settings, " in told
                assert told.count("tickets of user ") == 2
                # A table in between, which nobody has named anywhere.
                await asyncio.to_thread(
                    database.execute,
                    "INSERT INTO tickets_ticket_tags (ticket_id, tag_id) VALUES (1, 1)",
                )
                assert await adas.next() == {"tickets": [smoking | {"tags": ["fire"]}]}
                await asyncio.to_thread(database.execute, "DELETE FROM tickets_ticket_tags")
                assert await adas.next() == {"tickets": [smoking]}
                owner = "UPDATE tickets_ticket SET customer_id = "
                await asyncio.to_thread(database.execute, f"{owner} 2")
                assert await adas.next() == {"tickets": []}
                assert await bobs.next() == {"tickets": [smoking]}
                await asyncio.to_thread(database.execute, f"{owner} 1")
                assert await adas.next() == {"tickets": [smoking]}
        assert "Traceback" not in server.log


@pytest.mark.timeout(300)
def test_its_tests_pass_as_the_page_has_them(project: Project, database: Any) -> None:
    project.run("pip", "install", "--quiet", "pytest-django", "pytest-asyncio")
    project.follow("testing.md")
    (project.folder / "tickets" / "tests" / "__init__.py").touch()
    printed = project.run(
        "pytest", "-q", "--ds=helpdesk.settings", "-p", "no:cacheprovider", "tickets"
    )
    assert "4 passed" in printed
    assert "OK" in project.manage("test", "--noinput", "tickets")


@pytest.mark.once  # No database has a part in it.
def test_nothing_in_the_package_spells_its_name() -> None:
    """So that it runs under any."""
    name = re.compile(r"\b(from|import) app\b|[\"'`]app\b|\bapp\.\w|live_graphql")
    for file in (ROOT / "app").rglob("*.py"):
        for line in file.read_text().splitlines():
            assert not name.search(line), f"{file}: {line}"
