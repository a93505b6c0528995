"""Find whom a change concerns, in time that does not grow with the number of those who wait."""

from collections.abc import Collection, Iterable, Iterator
from itertools import product
from math import prod
from typing import Generic, TypeVar

from .change import Change
from .conditions import Dependency

MAX_ENTRIES = 1000
"""For one dependency; with more combinations of values, fewer columns are looked at."""

Values = tuple[str | None, ...]
Waiter = TypeVar("Waiter")


class Index(Generic[Waiter]):
    """Who waits for what: by table, then by columns, then by the values in these columns."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table[Waiter]] = {}

    def add(self, waiter: Waiter, dependencies: Iterable[Dependency]) -> None:
        """Let changes that concern `dependencies` find the waiter."""
        for each in dependencies:
            self._tables.setdefault(each.table, _Table()).add(waiter, *_entries(each))

    def discard(self, waiter: Waiter, dependencies: Iterable[Dependency]) -> None:
        """Undo `add` of the same."""
        for each in dependencies:
            table = self._tables[each.table]
            table.discard(waiter, *_entries(each))
            if not table.columns:
                del self._tables[each.table]

    def find(self, change: Change) -> Iterator[Waiter]:
        """Whom the change concerns; some perhaps more than once."""
        if table := self._tables.get(change.table):
            yield from table.find(change)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._tables

    def waiting_for_every_change(self) -> dict[str, int]:
        """How many wait for every change of a table, by table."""
        found = {name: len(table.of_every_change()) for name, table in self._tables.items()}
        return {name: count for name, count in found.items() if count}


class _Table(Generic[Waiter]):
    def __init__(self) -> None:
        # A dict instead of a set of waiters: one that waits for the same twice counts twice.
        self.columns: dict[tuple[str, ...], dict[Values, dict[Waiter, int]]] = {}

    def add(self, waiter: Waiter, columns: tuple[str, ...], every: list[Values]) -> None:
        by_values = self.columns.setdefault(columns, {})
        for values in every:
            waiters = by_values.setdefault(values, {})
            waiters[waiter] = waiters.get(waiter, 0) + 1

    def discard(self, waiter: Waiter, columns: tuple[str, ...], every: list[Values]) -> None:
        by_values = self.columns[columns]
        for values in every:
            waiters = by_values[values]
            waiters[waiter] -= 1
            if not waiters[waiter]:
                del waiters[waiter]
            if not waiters:
                del by_values[values]
        if not by_values:
            del self.columns[columns]

    def of_every_change(self) -> Collection[Waiter]:
        return self.columns.get((), {}).get((), ())

    def find(self, change: Change) -> Iterator[Waiter]:
        told = dict(zip(change.columns, change.values, strict=True))
        for columns, by_values in self.columns.items():
            if told.keys() >= set(columns):
                yield from by_values.get(tuple(told[column] for column in columns), ())
            else:
                # Any row, or a trigger that does not tell one of these columns.
                for waiters in by_values.values():
                    yield from waiters


def _entries(dependency: Dependency) -> tuple[tuple[str, ...], list[Values]]:
    """The columns to look at, and each combination of values in them."""
    conditions = sorted(dependency.conditions.items(), key=lambda item: (len(item[1]), item[0]))
    while prod(len(values) for _, values in conditions) > MAX_ENTRIES:
        conditions.pop()
    conditions.sort()
    columns = tuple(column for column, _ in conditions)
    return columns, list(product(*(values for _, values in conditions)))
