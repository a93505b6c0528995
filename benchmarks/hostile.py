"""Documents that a limit is meant for: as costly as they may be, or costlier."""

from typing import Final

ORDERS: Final = 200
"""The most that one list may have."""
ALIASES: Final = 45
"""So many fields of so many orders are within the limit of a result's fields."""
MOST_SCHEMAS: Final = 13
CREATE: Final = "mutation { createOrder { id } }"

_EQUAL_FIELDS: Final = 60
_UNKNOWN_FIELDS: Final = 205
_LETTERS: Final = 140


def orders(mark: str) -> str:
    """A query for many fields of many orders; another one for each mark."""
    return f"query {{ {_many_fields(mark)} }}"


def costly_subscription(mark: str) -> str:
    """A subscription to the same, which nobody else has."""
    return f"subscription {{ {_many_fields(mark)} }}"


def cheap_subscription(mark: str) -> str:
    """A subscription to one field of one order, which nobody else has."""
    return f"subscription {{ getOrders(first: 1) {{ x{mark}: id }} }}"


def creation(_mark: str) -> str:
    """A mutation, always the same."""
    return CREATE


def introspection(schemas: int, mark: str = "") -> str:
    """What reads all types twelve times for each of the schemas; another one for each mark."""
    return f"{_schemas(schemas, 'name')} #{mark}"


def invalid(mark: str) -> str:
    """Nearly the most tokens and characters, equal fields to compare, and unknown fields."""
    equal = "x: getOrders { id } " * _EQUAL_FIELDS
    unknown = " ".join(f"a{n:03}: n{n:0{_LETTERS}}" for n in range(_UNKNOWN_FIELDS))
    return f"{{ {equal}{unknown} }} #{mark}"


def long_names(letters: int) -> str:
    """Introspection that repeats one long name, once for each field of each type, 132 times."""
    # Few enough for the limit of fields.
    return _schemas(11, f"{'n' * letters}: name")


def many_lists(lists: int) -> str:
    """Many lists of all that an order has."""
    below = "{ id date state user { username email } }"
    return f"{{ {' '.join(f'a{n}: getOrders(first: 200) {below}' for n in range(lists))} }}"


def long_orders(letters: int, fields: int) -> str:
    """Some fields of many orders, under names of so many letters."""
    selected = " ".join(f"{'n' * letters}{number:02}: id" for number in range(fields))
    return f"{{ getOrders(first: {ORDERS}) {{ {selected} }} }}"


def _schemas(number: int, field: str) -> str:
    schemas = " ".join(f"s{each}: __schema {{ ...A }}" for each in range(number))
    types = " ".join(f"t{each}: types {{ fields {{ ...F }} }}" for each in range(12))
    return (
        f"{{ {schemas} }} fragment A on __Schema {{ {types} }} fragment F on __Field {{ {field} }}"
    )


def _many_fields(mark: str) -> str:
    fields = " ".join(f"a{number}: id" for number in range(ALIASES))
    return f"getOrders(first: {ORDERS}) {{ {fields} x{mark}: id }}"
