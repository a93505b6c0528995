"""Viewers who have signed in: a user and a session for each, made in bulk."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from benchmarks.database import ROOT, Database

FIRST_USER: Final = 1001
"""The key of the first viewer's user; the users of the other loads come before."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user who has signed in."""

    user_id: int

    @property
    def username(self) -> str:
        """The name, of which no other's is a part."""
        return f"viewer-{self.user_id:06}"

    @property
    def session_key(self) -> str:
        """What the cookie names: not random, so that every process knows it."""
        return f"{self.user_id:032}"

    @property
    def cookie(self) -> str:
        """The line of a request's head by which this project knows the viewer."""
        return f"Cookie: sessionid={self.session_key}\r\n"

    @property
    def address(self) -> str:
        """Where to connect. The other arms believe what it says, and look up no session."""
        return f"/graphql/?user={self.user_id}"

    @property
    def mark(self) -> bytes:
        """What each message with an order of theirs contains."""
        return f'"username":"{self.username}"'.encode()


def identity(viewer: Viewer | None) -> tuple[str, str]:
    """The address, and the line of a request's head, by which a server knows who asks, if any."""
    return (viewer.address, viewer.cookie) if viewer else ("/graphql/", "")


def users(number: int) -> range:
    """The keys of the first `number` viewers' users."""
    return range(FIRST_USER, FIRST_USER + number)


def create(database: Database, number: int) -> None:
    """Create the users and sessions of so many viewers."""
    environment = os.environ | {
        "DATABASE_URL": database.writer_url,
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "benchmarks.open_settings",
    }
    command = [sys.executable, "-m", "benchmarks.sign_in", str(number)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
