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
    """The innermost async generator of the stack from `frame` on, or None.

    An `@asynccontextmanager` is none, and no fixture is: their bodies may well run in their blocks.
    """
    while frame is not None:
        caller = frame.f_back
        if frame.f_code.co_flags & CO_ASYNC_GENERATOR and not _is_managed_by(caller):
            return frame
        frame = caller
    return None


def has_yielded(generator: FrameType) -> bool:
    """Whether the async generator is suspended, and by a `yield`, not by an `await`."""
    return generator.f_lasti in _yields(generator.f_code)


def _is_managed_by(caller: FrameType | None) -> bool:
    """Whether the caller runs the generator to its end, as surely as `async with` does."""
    name: str = caller.f_globals.get("__name__", "") if caller is not None else ""
    return name.partition(".")[0] in (contextlib.__name__, "pytest_asyncio", "anyio")


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
