"""`python -m benchmarks.sign_in NUMBER`: create viewers by Django, as signing in would."""

import sys
from datetime import timedelta

import django

django.setup()

from django.contrib.auth import (  # noqa: E402
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
)
from django.contrib.auth.hashers import make_password  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.accounts import Viewer, users  # noqa: E402


def main(number: int) -> None:
    """Create the users and sessions of the first `number` viewers."""
    tomorrow = timezone.now() + timedelta(days=1)
    store, created, sessions = SessionStore(), [], []
    for viewer in map(Viewer, users(number)):
        user = User(
            pk=viewer.user_id,
            username=viewer.username,
            email=f"{viewer.username}@example.org",
            password=make_password(None),  # Nobody signs in by it.
        )
        signed_in = {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
        created.append(user)
        sessions.append(
            Session(
                session_key=viewer.session_key,
                session_data=store.encode(signed_in),
                expire_date=tomorrow,
            )
        )
    User.objects.bulk_create(created, batch_size=1000)
    Session.objects.bulk_create(sessions, batch_size=1000)


if __name__ == "__main__":
    main(int(sys.argv[1]))
