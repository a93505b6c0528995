"""What is compared: the same shop, made live in these ways."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.adoption import lines

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to make the shop live."""

    name: str
    title: str
    folder: str
    files: tuple[str, ...]
    settings: str = "settings"
    needs_redis: bool = False

    @property
    def package(self) -> str:
        """Where its modules are."""
        return f"benchmarks.adoption.{self.folder}"

    def lines(self) -> dict[str, int]:
        """Return what a team writes, by file."""
        return {name: lines.count(FOLDER / self.folder / name) for name in self.files}


_STRAWBERRY: Final = ("schema.py", "signals.py", "apps.py", "asgi.py")
ARMS: Final = (
    Arm("ours", "this project", "ours", ("schema.graphql", "schema.py", "asgi.py", "settings.py")),
    Arm(
        "redis",
        "Strawberry-Django, Redis",
        "strawberry",
        (*_STRAWBERRY, "settings.py"),
        needs_redis=True,
    ),
    Arm(
        "memory",
        "the same, layer in memory",
        "strawberry",
        (*_STRAWBERRY, "settings_in_memory.py"),
        settings="settings_in_memory",
    ),
)
