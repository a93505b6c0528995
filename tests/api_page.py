"""Write docs/api.md, every public name by its docstring: `make api`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

from app import NAMES
from app.database import NAMES as ORM
from tests.server import ROOT

PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "live_graphql": NAMES,
    "live_graphql.database": {f"database.{module}": names for module, names in ORM.items()},
    "live_graphql.authentication.django_sessions": {
        "authentication.django_sessions": ("DjangoSessions",)
    },
    "live_graphql.authentication.jwt": {"authentication.jwt": ("JWTSessions", "Claims")},
    "live_graphql.testing": {"testing": ("Client", "Results", "ResponseError")},
}
HEAD = """\
# Public names

Made from the docstrings by `make api`. What is here changes as
[semantic versioning](https://semver.org) has it, and [CHANGELOG.md](../CHANGELOG.md) says what
breaks; what is not here may change in any version. In a clone, `live_graphql` is `app`. Settings
are in [existing-project.md](existing-project.md#settings), limits and error codes in
[protocols.md](protocols.md).
"""


def page() -> str:
    """The whole page."""
    package: Any = griffe.load("app", search_paths=[str(ROOT)])
    text = HEAD
    for title, modules in PUBLIC.items():
        text += f"\n## {title}\n"
        for module, names in modules.items():
            text += "".join(_described(package[f"{module}.{name}"]) for name in names)
    return text


def _described(thing: Any) -> str:
    """A heading, what it says of itself, and its public parts."""
    signature = ""
    if thing.is_function or (thing.is_class and "__init__" in thing.members):
        signature = _signature(thing)
    value = f"`{thing.value}`. " if thing.is_attribute else ""
    parts = "".join(f"* {part}\n" for part in _parts(thing)) if thing.is_class else ""
    name = f"{_called(thing) if thing.is_function else ''}{thing.name}"
    return f"\n### `{name}{signature}`\n\n{value}{_text(thing)}\n" + (parts and f"\n{parts}")


def _signature(thing: Any) -> str:
    function = thing.members["__init__"] if thing.is_class else thing
    text: str = function.signature(return_type=not thing.is_class)
    return re.sub(r"\(self(, )?", "(", text).removeprefix(function.name).removesuffix(" -> None")


def _parts(kind: Any) -> Iterator[str]:
    for name, part in kind.members.items():
        if name.startswith("_") or part.is_alias:
            continue
        if part.is_attribute and part.docstring:
            yield f"`{name}: {part.annotation}`: {_text(part)}"
        elif part.is_function and part.docstring:
            yield f"`{_called(part)}{name}{_signature(part)}`: {_text(part)}"


def _called(function: Any) -> str:
    """What stands before its name where it is called."""
    if any("asynccontextmanager" in str(each.value) for each in function.decorators):
        return "async with "
    return "await " if "async" in function.labels else ""


def _text(thing: Any) -> str:
    """The docstring, one paragraph a line."""
    text = thing.docstring.value if thing.docstring else ""
    paragraphs = re.split(r"\n\s*\n", text)
    separator = "\n\n" if thing.is_class or not thing.parent.is_class else " "
    return separator.join(re.sub(r"\s*\n\s*", " ", each).strip() for each in paragraphs)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
