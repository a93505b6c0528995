"""Find out who a client is: load the session that its cookie names."""

from django.conf import settings
from django.http import parse_cookie

from ..database.calls import run
from ..viewer import Session, Viewer, load_session


def session_key(cookies: str) -> str:
    """Return the session that a `Cookie` header names, or "" if no session engine made its key."""
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")
    # Not every database takes other characters.
    return key if key.isascii() and key.isprintable() else ""


async def viewer_of(key: str) -> Viewer:
    """Return whom the session `key` identifies now. Raise Django's database errors."""
    return (await session_of(key)).viewer


async def session_of(key: str) -> Session:
    """Return the viewer, and until when they are signed in. Raise Django's database errors."""
    return await run(load_session, key) if key else load_session("")
