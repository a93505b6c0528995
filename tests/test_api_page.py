"""The page of public names is up to date, and each name can be imported."""

from importlib import import_module

import pytest

import app
from app import database
from tests.api_page import page
from tests.server import ROOT

pytestmark = pytest.mark.once


def test_page_is_that_of_the_docstrings() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == page(), "make api"


@pytest.mark.parametrize("package", [app, database])
def test_names_are_found_in_the_package(package: object) -> None:
    modules: dict[str, tuple[str, ...]] = vars(package)["NAMES"]
    for module, names in modules.items():
        for name in names:
            where = import_module(f"{vars(package)['__name__']}.{module}")
            assert getattr(package, name) is getattr(where, name)
    with pytest.raises(AttributeError, match="has no attribute 'unknown'"):
        vars(package)["__getattr__"]("unknown")
