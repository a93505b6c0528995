"""What docs/deployment.md says is so."""

import ast
import configparser
import re
import subprocess

import pytest

from tests.deploy import document, shop
from tests.server import ROOT

pytestmark = pytest.mark.once

OPTIONS = re.compile(r"--(http|ws-[\w-]+|timeout-[\w-]+)[ =\",]+([^\s\",`]+)")
"""What every way to start uvicorn must have, however it is written."""


def test_what_it_leads_to_is_there() -> None:
    assert len(document.links()) > 10
    assert [path for path in document.links() if not path.exists()] == []


def test_its_commands_can_be_read_and_name_files_that_are_there() -> None:
    for block in document.blocks("sh"):
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)
        for path in re.findall(r"(?<![\w/])(?:/opt/live/current/)?(deploy/[\w@.-]+)", block):
            assert (ROOT / path).exists(), path


def test_its_variables_are_described() -> None:
    described = (ROOT / ".env.example").read_text()
    (environment,) = document.blocks("ini")
    names = re.findall(r"^(\w+)=", environment, re.MULTILINE)
    assert len(names) > 3
    assert [name for name in names if f"#{name}=" not in described] == []


def test_its_migrations_are_those_that_are_tried() -> None:
    expand, contract = document.blocks("py")

    def operations(text: str) -> list[str]:
        (call,) = [
            node.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "operations"
        ]
        assert isinstance(call, ast.List)
        return [ast.unparse(each) for each in call.elts]

    for block, tried in ((expand, shop.MORE), (contract, shop.LESS)):
        (migration,) = [text for path, text in tried.items() if "migrations" in path]
        assert operations(block) == operations(migration)[-len(operations(block)) :]


def test_uvicorn_is_started_alike_everywhere() -> None:
    pages = (
        "README.md",
        "docs/existing-project.md",
        "deploy/live@.service",
        "deploy/Containerfile",
    )
    first, *others = [
        {name: value.replace("live_graphql.", "app.") for name, value in OPTIONS.findall(text)}
        for text in ((ROOT / page).read_text() for page in pages)
    ]
    assert first.keys() >= {"http", "ws-max-size", "timeout-graceful-shutdown"}
    assert others == [first] * len(others)


def test_units_have_the_same_sandbox() -> None:
    def sandbox(name: str) -> dict[str, str]:
        text = (ROOT / "deploy" / name).read_text().replace("\\\n", " ")
        unit = configparser.RawConfigParser(strict=False, delimiters="=")
        unit.read_string(text)
        return {
            key: value
            for key, value in unit["Service"].items()
            if re.match("protect|private|restrict|systemcall|capab|lock|memorydeny|nonew|user", key)
        }

    assert len(sandbox("live@.service")) > 20
    assert sandbox("live-migrate.service") == sandbox("live@.service")
