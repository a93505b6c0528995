"""`manage.py live`: print what is subscribed now, what wakes it, and what it costs."""

import json
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...web.status import status_folder
from ...web.status_report import Report, read_all

SORTED_BY = ("cost", "executions", "messages", "subscribers", "sources")
CLEAR = "\x1b[H\x1b[2J"


class Command(BaseCommand):
    """Asks the workers of all servers on this host that run as the same user."""

    help = (
        "Prints what is subscribed now, what wakes it, and what it costs, as the workers of all "
        "servers on this host tell that run as the same user."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print all of it, as JSON")
        parser.add_argument(
            "--operation", metavar="NAME", help="only of this name or field, each source by itself"
        )
        parser.add_argument(
            "--sort", choices=SORTED_BY, default="cost", help="what comes first (default: cost)"
        )
        parser.add_argument(
            "--limit", type=int, default=50, metavar="N", help="print N lines (default: 50)"
        )
        parser.add_argument(
            "--watch",
            type=float,
            nargs="?",
            const=2.0,
            metavar="SECONDS",
            help="print again and again, by default every 2 seconds",
        )

    def handle(self, **options: Any) -> None:
        """Print it once, or until interrupted. Raise CommandError if no server runs."""
        try:
            while True:
                text = self._text(**options)
                if options["watch"] is None:
                    self.stdout.write(text)
                    return
                self.stdout.write(CLEAR + text)
                self.stdout.flush()
                time.sleep(max(0.1, options["watch"]))
        except KeyboardInterrupt:
            sys.exit(0)

    def _text(self, **options: Any) -> str:
        folder = status_folder()
        workers = read_all(folder)
        if not workers:
            raise CommandError(
                f"No server runs: none has a socket in {folder}. Call this as the user that the "
                "server runs as, and set LIVE_STATUS_DIR for both if the server has temporary "
                "files of its own."
            )
        report = Report(workers, options["operation"])
        if options["json"]:
            return json.dumps(report.as_json(), indent=2)
        return report.as_text(options["sort"], options["limit"])
