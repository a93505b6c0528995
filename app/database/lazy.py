"""Public names of a package whose modules cannot be imported as early as the package itself."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package, which finds names in its modules when they are asked for.

    `modules` are the names by module. Django imports the package before there are models.
    """
    found = {name: module for module, names in modules.items() for name in names}

    def find(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f".{found[name]}", package), name)

    return find
