"""Find the async generator that enters a block, and tell whether it has yielded inside of it.

The generator shares its context with whoever iterates over it (PEP 568 would change that), so what
the body of the loop awaits would run in the block, and be lost if the loop is left early.
"""

from __future__ import annotations

import contextlib
import dis
from functools import lru_cache
from inspect import CO_ASYNC_GENERATOR
from itertools import pairwise
from types import CodeType, FrameType


def generator_around(frame: FrameType | None) -> FrameType | None:
    """The frame of the async generator that enters a context manager, seen from its `__aenter__`.

    None for a coroutine, and for an `@asynccontextmanager`, whose body may well run in its block.
    """
    while frame is not None:
        if frame.f_code.co_flags & CO_ASYNC_GENERATOR:
            generator, frame = frame, frame.f_back
            if frame is None or not (_is_in_contextlib(frame) or _is_of_a_fixture(frame)):
                return generator
        elif not _is_in_contextlib(frame) and frame.f_code.co_name != "__aenter__":
            return None
        frame = frame.f_back
    return None


def has_yielded(generator: FrameType) -> bool:
    """Whether the async generator is suspended, and by a `yield`, not by an `await`."""
    return generator.f_lasti in _yields(generator.f_code)


def _is_of_a_fixture(frame: FrameType) -> bool:
    """Whether a test tool drives the generator: it ends it as surely as `async with` does."""
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in ("pytest_asyncio", "anyio")


def _is_in_contextlib(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == contextlib.__name__


@lru_cache
def _yields(code: CodeType) -> frozenset[int]:
    """Where a suspended frame may stand: from Python 3.13 on, it is the second of each pair.

    https://docs.python.org/3/library/dis.html#opcode-RESUME: 1 is "after a yield expression".
    """
    return frozenset(
        instruction.offset
        for pair in pairwise(dis.get_instructions(code))
        if pair[0].opname == "YIELD_VALUE" and pair[1].arg is not None and pair[1].arg & 3 == 1
        for instruction in pair
    )
