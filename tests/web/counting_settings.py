"""The items' settings, with password hashes that are counted."""

from tests.items.settings import *  # noqa: F403

PASSWORD_HASHERS = ["tests.web.hashing.CountingHasher"]
