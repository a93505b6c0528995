"""The environment's variables are documented, all of them and no others."""

import re

from app.graphql.limits import Limits
from tests.server import ROOT


def variables_read() -> set[str]:
    """The variables that settings.py asks for."""
    return set(re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "settings.py").read_text()))


def variables_documented() -> set[str]:
    """The variables of .env.example."""
    return set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def test_every_variable_is_documented() -> None:
    assert len(variables_read()) > 20
    assert variables_read() == variables_documented()


def test_environment_is_read_in_settings_only() -> None:
    readers = [
        path.name
        for folder in ("app", "orders")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"os\.environ|getenv|environs", path.read_text())
    ]
    assert readers == []


def test_every_limit_is_a_setting() -> None:
    limits = Limits.from_settings()
    assert limits.max_operations == 100
    assert limits.ping_seconds > limits.pong_seconds
