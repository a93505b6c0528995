"""The environment's variables: all are documented, and a wrong value is told in one sentence."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from django.conf import settings

import settings as project
from app.defaults import LIMITS
from app.graphql.limits import Limits
from tests.server import ROOT

pytestmark = pytest.mark.once

EXAMPLE = ROOT / ".env.example"
SHOW = (
    "import settings; print({k: v for k, v in vars(settings).items() if k.isupper()"
    " and k != 'SECRET_KEY'})"
)


def variables_read() -> set[str]:
    """The variables that settings.py asks for."""
    named = re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "settings.py").read_text())
    return {*named, *LIMITS}


def variables_documented() -> set[str]:
    """The variables of .env.example."""
    return set(re.findall(r"^#(\w+)=", EXAMPLE.read_text(), re.MULTILINE))


def test_every_variable_is_documented() -> None:
    assert len(variables_read()) > 20
    assert variables_read() == variables_documented()


EXCEPTIONS = {
    "app/testing.py",  # lets Django be called in a test
    "app/web/service_manager.py",  # hears of systemd
    "app/web/worker_files.py",  # shares its folder with a library that looks there
}


def test_environment_is_read_in_settings_only() -> None:
    readers = [
        path.name
        for folder in ROOT.glob("*/")
        if folder.name not in {"tests", "benchmarks", "frontend"} and folder.name[0] != "."
        for path in folder.rglob("*.py")
        if str(path.relative_to(ROOT)) not in EXCEPTIONS
        and re.search(r"os\.environ(\.get|\[.*\](?! =))|getenv|environs", path.read_text())
    ]
    assert readers == []


def test_every_limit_is_a_setting() -> None:
    limits = Limits.from_settings()
    for field in fields(Limits):
        assert getattr(limits, field.name) == getattr(settings, f"GRAPHQL_{field.name.upper()}")


def settings_with(env_file: Path, **environment: str) -> str:
    """What settings.py makes of a file and an environment."""
    return subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, check=True, capture_output=True, text=True,
        env={"ENV_FILE": str(env_file), "SECRET_KEY": "x"} | environment,
    ).stdout  # fmt: skip


def test_copied_example_changes_nothing(tmp_path: Path) -> None:
    for environment in ({}, {"DEBUG": "true", "HTTPS": "false"}):
        assert settings_with(EXAMPLE, **environment) == settings_with(
            tmp_path / "none", **environment
        )


def test_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    copy.write_text(re.sub(r"^#(?=\w+=)", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    assert settings_with(copy) == settings_with(tmp_path / "none")
    copy.write_text("GRAPHQL_MAX_OPERATIONS=7\n")
    assert "'GRAPHQL_MAX_OPERATIONS': 7" in settings_with(copy)


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    """Import the server with this environment and nothing else."""
    inherited = {"DJANGO_SETTINGS_MODULE": "settings", "ENV_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, "-c", "import asgi"],
        cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_missing_secret_key_is_explained() -> None:
    failed = start(SECRET_KEY="")
    assert failed.returncode == 3
    assert "Traceback" not in failed.stderr
    assert "SECRET_KEY is not set. Off DEBUG it must be a long random string" in failed.stderr


def test_open_access_is_refused_off_debug() -> None:
    failed = start(SECRET_KEY="x", DEBUG="false", OPEN_ACCESS="true")
    assert failed.returncode == 3
    assert "Traceback" not in failed.stderr
    assert "Unset OPEN_ACCESS in production" in failed.stderr


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://localhost/live", "DATABASE_URL must begin with sqlite:// or postgres://"),
        ("live", "DATABASE_URL is no address of a database"),
        ("postgres://ada:se#cret@localhost/live", "special characters percent-encoded"),
    ],
)
def test_other_databases_are_refused(url: str, complaint: str) -> None:
    failed = start(SECRET_KEY="x", DATABASE_URL=url)
    assert failed.returncode == 3
    assert "Traceback" not in failed.stderr
    assert complaint in failed.stderr


def test_replicas_are_databases_of_their_own(tmp_path: Path) -> None:
    urls = "postgres://a@one/live,postgres://a@two/live"
    shown = settings_with(tmp_path / "none", DATABASE_REPLICA_URLS=urls)
    assert "'LIVE_REPLICAS': ['replica1', 'replica2']" in shown
    assert "'DATABASE_ROUTERS': ['app.ReplicaRouter']" in shown
    assert shown.count("'TEST': {'MIRROR': 'default'}") == 2
    failed = start(SECRET_KEY="x", DATABASE_REPLICA_URLS="mysql://localhost/live")
    assert "DATABASE_REPLICA_URLS must begin with" in failed.stderr


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("DATABASE_POOL_SIZE", "0", "It must be greater than 0, but is 0."),
        ("GRAPHQL_MAX_OPERATIONS", "-1", "It must be greater than 0, but is -1."),
        ("GRAPHQL_MAX_OPERATIONS", "many", "Not a valid integer."),
        ("GRAPHQL_PING_SECONDS", "0", "It must be greater than 0, but is 0.0."),
        ("HTTP_MAX_BODY_BYTES", "0", "It must be greater than 0, but is 0."),
        ("DEBUG", "perhaps", "Not a valid boolean."),
        ("TIME_ZONE", "Mars/Olympus", "There is no time zone Mars/Olympus."),
        ("LOG_LEVEL", "LOUD", "Not a valid log level."),
    ],
)
def test_value_that_makes_no_sense_is_refused(name: str, value: str, complaint: str) -> None:
    failed = start(SECRET_KEY="x", **{name: value})
    assert failed.returncode == 3
    [line] = failed.stderr.splitlines()
    assert name in line
    assert complaint in line


def test_every_limit_has_a_default_that_the_environment_can_change() -> None:
    names = {f"GRAPHQL_{each.name.upper()}" for each in fields(Limits) if each.type in (int, float)}
    assert names == {name for name in LIMITS if name.startswith("GRAPHQL_")}
    shown = settings_with(Path(os.devnull), **dict.fromkeys(LIMITS, "1"))
    for name in LIMITS:
        assert re.search(rf"'{name}': 1(\.0)?[,}}]", shown), name


def test_workers_that_cannot_start_are_not_started_for_ever(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "asgi:application", "--workers", "2", "--port", "0"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={"SECRET_KEY": "x", "ENV_FILE": os.devnull, "DEBUG": "perhaps"},
    )  # fmt: skip
    assert ended.stderr.count("The server cannot start: ") <= 2
    assert "failed to start, stopping the parent process" in ended.stderr


@pytest.mark.parametrize("origins", ["*", "null", "example.org", "https://a.example,https://*"])
def test_origins_must_be_named(origins: str) -> None:
    failed = start(SECRET_KEY="x", CORS_ALLOWED_ORIGINS=origins)
    assert failed.returncode == 3
    assert "Traceback" not in failed.stderr
    assert "CORS_ALLOWED_ORIGINS must list origins" in failed.stderr


def test_trusted_documents_that_are_not_valid_are_told(tmp_path: Path) -> None:
    path = tmp_path / "trusted.json"
    for content, complaint in (
        (None, "cannot be read: No such file or directory."),
        ('{"first": "{ nothing }"}', "has the document 'first', which is not valid here: "),
    ):
        if content is not None:
            path.write_text(content)
        failed = start(SECRET_KEY="x", GRAPHQL_TRUSTED_DOCUMENTS=str(path))
        assert failed.returncode == 3
        [line] = failed.stderr.splitlines()
        assert line.startswith("The server cannot start: GRAPHQL_TRUSTED_DOCUMENTS: ")
        assert f"{path} {complaint}" in line


def test_address_may_say_how_long_to_wait_for_packets() -> None:
    options = project.database("postgres://host/name")["OPTIONS"]
    assert options["tcp_user_timeout"] == 15_000
    options = project.database("postgres://host/name?tcp_user_timeout=1000")["OPTIONS"]
    assert options["tcp_user_timeout"] == 1000
    assert options["keepalives_idle"] == 15
