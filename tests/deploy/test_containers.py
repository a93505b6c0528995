"""The image and the services, as far as that goes without a container engine.

What the image copies is copied, and its commands run there by the tests' Python; it is installed by
nobody here, since `pip install --require-hashes` of the same files made the tests' environment.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.server import ROOT, ProjectServer

pytestmark = pytest.mark.once

DEPLOY = ROOT / "deploy"
PYTHON = ".venv/bin/python"
SECRETS = ("SECRET_KEY", "DATABASE_URL", "PASSWORD")


class Step(NamedTuple):
    """One instruction of the Containerfile."""

    word: str
    text: str


def stages() -> list[list[Step]]:
    """The instructions by stage, each from its FROM on."""
    text = (DEPLOY / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in filter(None, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Step(word, rest.strip()))
    return found


def last(word: str) -> str:
    """What the image has of an instruction in the end."""
    return [step.text for step in stages()[-1] if step.word == word][-1]


def arguments(command: str) -> list[str]:
    """A command that no shell sees, run by the tests' Python."""
    words: list[str] = json.loads(command.removeprefix("CMD "))
    if words[0] == ".venv/bin/uvicorn":
        return [sys.executable, "-m", "uvicorn", *words[1:]]
    assert words[0] == PYTHON
    return [sys.executable, *words[1:]]


def healthcheck() -> str:
    """The command that tells how a container is."""
    return last("HEALTHCHECK").partition("CMD ")[2]


def copy_all(stage: list[Step], folder: Path) -> None:
    """Do what a stage copies from this clone, in a folder in place of `/`."""
    place = folder
    for step in stage:
        if step.word == "WORKDIR":
            place = folder / step.text.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY" and "--from" not in step.text:
            *sources, target = step.text.split()
            for source in sources:
                path = ROOT / source
                goal = place / target / (path.name if target.endswith("/") else "")
                if path.is_dir():
                    shutil.copytree(path, goal, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    goal.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, goal)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that becomes `/live`, with the commands of its stage done."""
    root = tmp_path_factory.mktemp("image")
    copy_all(stages()[-1], root)
    folder = root / "live"
    for step in stages()[-1]:
        if step.word == "RUN" and step.text.startswith(PYTHON):
            words = [sys.executable, *shlex.split(step.text)[1:]]
            subprocess.run(words, cwd=folder, check=True)
    return folder


class Container(ProjectServer):
    """The image's command in the image's folder, on a port that is free."""

    deployment = ()

    @property
    def command(self) -> list[str]:
        """What starts it."""
        command = arguments(last("CMD"))
        command[command.index("--host") + 1] = "127.0.0.1"
        command[command.index("--port") + 1] = str(self.port)
        return command


@pytest.fixture
def container(
    image: Path, transactional_db: None, database_url: str, tmp_path: Path
) -> Iterator[Container]:
    """A running one."""
    server = Container(tmp_path / "log", database_url)
    server.folder = image
    with server:
        yield server
    assert "Traceback" not in server.log


def test_what_is_copied_is_enough_to_serve(container: Container) -> None:
    """And the healthcheck tells when it no longer does."""

    def is_healthy() -> bool:
        command = [
            word.replace(":8000/", f":{container.port}/") for word in arguments(healthcheck())
        ]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    assert is_healthy()
    container.stop()
    assert not is_healthy()


def test_pages_are_copied_as_their_build_wants_them(tmp_path: Path) -> None:
    (pages,) = [stage for stage in stages() if stage[0].text.endswith(" AS pages")]
    copy_all(pages, tmp_path)
    there = {path.name for path in (tmp_path / "build/frontend").iterdir()}
    tracked = subprocess.run(
        ["git", "ls-files", "frontend"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = {path.split("/")[1] for path in tracked} - {"examples"}
    assert there == wanted


def test_image_is_locked_unprivileged_and_without_secrets() -> None:
    steps = [step for stage in stages() for step in stage]
    installs = [step.text for step in steps if "pip install" in step.text]
    assert len(installs) == 2
    assert all("--require-hashes" in each for each in installs)
    assert not [step for step in steps if "npm install" in step.text]
    assert int(last("USER").partition(":")[0]) > 0
    assert not [step for step in steps if step.word in {"ARG", "ENV"} for name in SECRETS
                if name in step.text]  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The services."""
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return parsed


def test_services_name_only_what_there_is(compose: dict[str, Any]) -> None:
    services = compose["services"]
    described = (ROOT / ".env.example").read_text()
    for service in services.values():
        assert "image" in service
        assert set(service.get("depends_on", {})) <= services.keys()
        assert set(service["networks"]) <= compose["networks"].keys()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            # The certificates are the deployer's.
            assert source in {*compose["volumes"], "./certificates"} or (DEPLOY / source).exists()
        if service["image"] == "live":
            own = service["environment"].keys() - {"FORWARDED_ALLOW_IPS"}  # uvicorn's
            assert all(f"#{name}=" in described for name in own)
    build = services["migrate"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (DEPLOY / build["context"] / build["dockerfile"]).exists()
    assert services["migrate"]["command"][1:] == ["manage.py", "migrate", "--noinput"]


def test_servers_have_time_to_end_and_a_proxy_that_they_believe(compose: dict[str, Any]) -> None:
    servers = [each for name, each in compose["services"].items() if name.startswith("server-")]
    words = arguments(last("CMD"))
    grace = int(words[words.index("--timeout-graceful-shutdown") + 1])
    proxy = compose["services"]["nginx"]["networks"]["inside"]["ipv4_address"]
    for server in servers:
        assert int(server["stop_grace_period"].removesuffix("s")) >= grace + 5
        assert server["environment"]["FORWARDED_ALLOW_IPS"] == proxy
        assert server["healthcheck"]["test"] == ["CMD", *json.loads(healthcheck())]


def test_nginx_is_told_of_all_servers(compose: dict[str, Any], tmp_path: Path, nginx: str) -> None:
    *_, script = compose["services"]["nginx"]["command"]
    sed = script.partition(" >")[0].replace("/deploy/nginx.conf", str(DEPLOY / "nginx.conf"))
    text = subprocess.run(shlex.split(sed), capture_output=True, text=True, check=True).stdout
    servers = {name: each for name, each in compose["services"].items() if "server-" in name}
    addresses = [each["networks"]["inside"]["ipv4_address"] for each in servers.values()]
    assert re.findall(r"^ +server (\S+):8000 ", text, re.MULTILINE) == addresses
