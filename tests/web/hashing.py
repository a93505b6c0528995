"""A quick way to hash passwords that tells how often it was used."""

import os
from pathlib import Path

from django.contrib.auth.hashers import MD5PasswordHasher


class CountingHasher(MD5PasswordHasher):
    """Adds a byte to the file `HASHES`, if the environment names it, for each hash."""

    algorithm = "counted"

    def encode(self, password: str, salt: str) -> str:
        """Hash, and count."""
        if path := os.environ.get("HASHES"):
            with Path(path).open("ab") as file:
                file.write(b".")
        return super().encode(password, salt)
