"""A real PgBouncer before the tests' database, with the configuration that deployers get."""

import configparser
import io
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.server import ROOT, free_port

CONFIGURATION = ROOT / "deploy" / "pgbouncer.ini"
PATIENCE_SECONDS = 20


@contextmanager
def pooler(program: str, folder: Path, url: str, **settings: object) -> Iterator[str]:
    """The DATABASE_URL of the database at `url` by way of PgBouncer, within the context."""
    port = free_port()
    configuration, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
    with psycopg.connect(url) as connection:
        configuration.write_text(_configuration(connection.info, port, settings))
        pooled = f"postgres://anybody@127.0.0.1:{port}/{connection.info.dbname}"
    with log.open("wb") as output:
        process = subprocess.Popen([program, configuration], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _accepts(pooled):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield pooled
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _configuration(target: psycopg.ConnectionInfo, port: int, settings: dict[str, object]) -> str:
    """What ships, before this database and for everybody."""
    lines = configparser.RawConfigParser(delimiters="=")
    lines.read_string(CONFIGURATION.read_text())
    password = f"password={target.password}" if target.password else ""
    lines["databases"] = {
        target.dbname: f"host={target.host} port={target.port} user={target.user} {password}"
    }
    pooler = lines["pgbouncer"]
    del pooler["auth_file"]
    pooler.update({"listen_port": str(port), "auth_type": "any"})
    pooler.update({name: str(value) for name, value in settings.items()})
    if os.geteuid() == 0:
        # Which it refuses to run as; and not everybody may enter the folder of a socket.
        pooler["user"] = Path(target.host).owner() if target.host.startswith("/") else "nobody"
    text = io.StringIO()
    lines.write(text)
    return text.getvalue()


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
