"""`manage.py rundemo`: migrate, create demo data, serve, and keep the data changing."""

import socket
import threading
from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from app.web.options import limiting_options
from orders import demo


class Command(BaseCommand):
    """What `make run` runs. One process, so that Ctrl-C ends all of it."""

    help = "Serve the project with demo data that keeps changing. Needs DEBUG."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the address to serve at."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", default="8000")

    def handle(self, *_: Any, host: str, port: str, **__: Any) -> None:
        """Run until interrupted. Raises CommandError if that is impossible."""
        if not settings.DEBUG:
            raise CommandError("The demo has a well-known login, so it runs under DEBUG only.")
        number = _checked(host, port)
        call_command("migrate", verbosity=0)
        demo.create()
        self._welcome(f"http://{host}:{number}")
        stop = threading.Event()
        changing = threading.Thread(target=_change_until, args=(stop,), name="demo changes")
        changing.start()
        try:
            uvicorn.run(
                "asgi:application",
                host=host,
                port=number,
                log_level="warning",
                timeout_graceful_shutdown=3,
                **limiting_options(),
            )
        except KeyboardInterrupt:
            pass  # uvicorn raises it again after a clean end
        finally:
            stop.set()
            changing.join()
        self.stdout.write("\nStopped. The data is kept for the next time.")

    def _welcome(self, address: str) -> None:
        is_open = settings.GRAPHQL_OPEN_ACCESS
        access = "everybody may see and change everything" if is_open else "sign in"
        board = f"\n  Board        {address}/" if settings.BOARD else ""
        self.stdout.write(
            f"{board}\n  GraphQL      {address}/graphql/   ({access})"
            f"\n  Admin        {address}/admin/     (login {demo.LOGIN}, password {demo.PASSWORD})"
            "\n\n  The data changes every few seconds. Ctrl-C stops everything.\n"
        )


def _checked(host: str, text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise CommandError(f"A port is a number from 1 to 65535, but {text!r} came.")
    port = int(text)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"{host}:{port} cannot be used: {error.strerror}. "
                f"Choose another port: make run PORT={port + 1}"
            ) from None
    return port


def _change_until(stop: threading.Event) -> None:
    try:
        demo.keep_changing(stop)
    finally:
        connection.close()
