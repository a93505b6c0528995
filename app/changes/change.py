"""What the database tells of one changed row."""

from typing import NamedTuple


class Change(NamedTuple):
    """A row that a commit has changed, as it was before or as it is now; or perhaps all rows."""

    table: str
    columns: tuple[str, ...] = ()
    """The key columns whose values are known; empty: any row of the table."""
    values: tuple[str | None, ...] = ()
    """Their values as canonical text, None for NULL."""
