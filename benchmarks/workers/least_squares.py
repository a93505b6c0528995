"""Find what several causes cost, from how often they arose and what they cost together."""

import math
from collections.abc import Sequence
from itertools import combinations


def factors(rows: Sequence[Sequence[float]], columns: Sequence[int]) -> list[float]:
    """By what to multiply the columns so that each row adds up to 1, as nearly as that can be.

    None is below zero, and those of other columns than these are zero.
    """
    best, least = [0.0] * len(rows[0]), math.inf
    for size in range(1, len(columns) + 1):
        for some in combinations(columns, size):
            found = [0.0] * len(rows[0])
            for column, value in zip(some, _least_squares(rows, some), strict=True):
                found[column] = value
            error = sum((sumprod(row, found) - 1) ** 2 for row in rows)
            if min(found) >= 0 and error < least - 1e-12:
                best, least = found, error
    return best


def sumprod(times: Sequence[float], values: Sequence[float]) -> float:
    """As that of `math`, which Python has since 3.12."""
    return sum(time * value for time, value in zip(times, values, strict=True))


def _least_squares(rows: Sequence[Sequence[float]], columns: Sequence[int]) -> list[float]:
    """Solve the normal equations as Gauss and Jordan did."""
    system = [
        [sum(row[one] * row[other] for row in rows) for other in columns]
        + [sum(row[one] for row in rows)]
        for one in columns
    ]
    for place in range(len(columns)):
        pivot = max(range(place, len(columns)), key=lambda number: abs(system[number][place]))
        system[place], system[pivot] = system[pivot], system[place]
        if abs(system[place][place]) < 1e-15:
            return [-1.0] * len(columns)  # They cannot be told apart.
        for number, equation in enumerate(system):
            if number != place:
                factor = equation[place] / system[place][place]
                system[number] = [
                    value - factor * by for value, by in zip(equation, system[place], strict=True)
                ]
    return [equation[-1] / equation[place] for place, equation in enumerate(system)]
