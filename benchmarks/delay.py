"""A database that is further away: a relay before PostgreSQL's socket that takes its time."""

import asyncio
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
_CHUNK_BYTES = 65536


@contextmanager
def delayed(folder: Path, seconds: float) -> Iterator[Path]:
    """The folder of a socket that leads to the one in `folder`; what it is sent waits `seconds`."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="pg") as near:
        ours, theirs = context.Pipe()
        arguments = (Path(near) / SOCKET, folder / SOCKET, seconds, theirs)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        try:
            ours.recv()
            yield Path(near)
        finally:
            process.kill()
            process.join()


def _serve(near: Path, far: Path, seconds: float, pipe: Connection) -> None:
    asyncio.run(_relay(near, far, seconds, pipe))


async def _relay(near: Path, far: Path, seconds: float, pipe: Connection) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(far)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer, seconds))
                both.create_task(_copy(far_reader, writer, 0))
        finally:
            far_writer.close()
            writer.close()

    async with await asyncio.start_unix_server(accept, near) as server:
        pipe.send("ready")
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        if seconds:
            # Who sends waits for the answer, so nothing else comes meanwhile.
            await asyncio.sleep(seconds)
        writer.write(data)
    writer.close()
