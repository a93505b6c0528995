"""What programs take for granted: a clock that goes on, and room on the disk."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DISK_MB: Final = 224
"""Of a small disk: a database, some of its log, and little else."""
COMPILER: Final = shutil.which("cc")
SOURCE: Final = Path(__file__).with_name("clock.c")


class Clock:
    """The clock of some programs, which a file sets; the machine's own where nothing compiles."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.environment: dict[str, str] = {}
        """What makes a program look into the file; monotonic time goes on as it is."""
        if COMPILER is not None:
            library = file.with_suffix(".so")
            command = [COMPILER, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)]
            subprocess.run(command, check=True)
            self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(file)}

    def step(self, seconds: int) -> None:
        """Be so many seconds ahead, or behind."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))


class Disk:
    """A small disk that can be filled."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk | None]:
    """Make the folder, with a disk of its own; yield None where nobody may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "chaos", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        # Lazily, since what was killed may not have closed its files yet.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
