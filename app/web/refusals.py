"""What was refused before GraphQL heard of it."""

from collections import Counter
from typing import Final

refused: Final = Counter[str]()
"""How often this process has refused, by reason."""
