"""The environment's variables are documented, all of them and no others."""

import re
import subprocess
import sys
from pathlib import Path

from app.graphql.limits import Limits
from tests.server import ROOT

EXAMPLE = ROOT / ".env.example"
SHOW = (
    "import settings; print({k: v for k, v in vars(settings).items() if k.isupper()"
    " and k != 'SECRET_KEY'})"
)


def variables_read() -> set[str]:
    """The variables that settings.py asks for."""
    return set(re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "settings.py").read_text()))


def variables_documented() -> set[str]:
    """The variables of .env.example."""
    return set(re.findall(r"^#(\w+)=", EXAMPLE.read_text(), re.MULTILINE))


def test_every_variable_is_documented() -> None:
    assert len(variables_read()) > 20
    assert variables_read() == variables_documented()


def test_environment_is_read_in_settings_only() -> None:
    readers = [
        path.name
        for folder in ROOT.glob("*/")
        if folder.name not in {"tests", "benchmarks", "frontend"} and folder.name[0] != "."
        for path in folder.rglob("*.py")
        if re.search(r"os\.environ|getenv|environs", path.read_text())
    ]
    assert readers == []


def test_every_limit_is_a_setting() -> None:
    limits = Limits.from_settings()
    assert limits.max_operations == 100
    assert limits.ping_seconds > limits.pong_seconds


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
