"""`manage.py runserver`: serve the ASGI application, GraphQL too, and begin anew on changes."""

import socket
from typing import Any

import uvicorn
from django.core.management.base import CommandError
from django.core.management.commands import runserver
from django.utils import autoreload

from ...checks import application_name
from ...web.options import limiting_options


class Command(runserver.Command):
    """Django's own command, with uvicorn in place of its server.

    It takes effect if this app stands before `django.contrib.staticfiles` in INSTALLED_APPS.
    """

    addr: str
    port: str
    use_ipv6: bool
    _raw_ipv6: bool

    help = "Serves the ASGI application by uvicorn, for development."

    def inner_run(self, *_: Any, **options: Any) -> None:
        """Serve until the code changes, or until interrupted. Raise CommandError if that fails."""
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        if (application := application_name()) is None:
            raise CommandError("There is no asgi.py beside the settings, and no ASGI_APPLICATION.")
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            **limiting_options(),
        )
        with self._listening() as listener:
            address = f"[{self.addr}]" if self._raw_ipv6 else self.addr
            self.stdout.write(f"Serving {application} at http://{address}:{self.port}/\n")
            uvicorn.Server(config).run([listener])

    def _listening(self) -> socket.socket:
        family = socket.AF_INET6 if self.use_ipv6 else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.addr, int(self.port)))
        except OSError as error:
            listener.close()
            raise CommandError(
                f"{self.addr}:{self.port} cannot be used: {error.strerror}"
            ) from None
        return listener
