"""Let synchronous code await: it runs in a greenlet on the event loop's own thread."""

from __future__ import annotations

from asyncio import CancelledError, Task, create_task, current_task, shield
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from types import coroutine
from typing import Any, ParamSpec, TypeVar

from django.core.exceptions import SynchronousOnlyOperation
from greenlet import getcurrent, greenlet

P = ParamSpec("P")
T = TypeVar("T")


class CallGreenlet(greenlet):  # type: ignore[misc]  # greenlet has no types
    """The greenlet of one call; its parent is whoever drives the coroutine that awaits it."""

    is_abandoned = False  # the awaiting coroutine was closed: nobody can await any more
    executor: Any = None  # what the call runs on, for code that looks for it

    def suspend(self, future: Any) -> Any:
        """Let the task await `future`, and return its result."""
        if self.is_abandoned:
            raise CancelledError("The coroutine that awaited this call was closed.")
        return self.parent.switch(future)


def is_inside() -> bool:
    """Whether the running code was called by `run_in_greenlet`, and may await."""
    return isinstance(getcurrent(), CallGreenlet)


async def run_in_greenlet(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call synchronous `function`, in this task and its context, such that it may await.

    A cancellation is raised inside `function` where it waits. Should cleaning up fail after that,
    the cancellation is still what the caller sees.
    """
    call = CallGreenlet(function)
    call.gr_context = getcurrent().gr_context
    task = current_task()
    requests = task.cancelling() if task else 0
    try:
        result = call.switch(*args, **kwargs)
        while not call.dead:
            try:
                value = await (result.awaitable if isinstance(result, Outside) else _step(result))
            except BaseException as error:
                call.is_abandoned = isinstance(error, GeneratorExit)
                call.parent = getcurrent()
                result = call.throw(error)
            else:
                # An eager task is driven by whoever starts it, which may be another call's
                # greenlet, and from then on by the event loop.
                call.parent = getcurrent()
                result = call.switch(value)
    except Exception as failure:
        if task and task.cancelling() > requests:
            raise CancelledError from failure
        raise
    return result  # type: ignore[no-any-return]  # what the greenlet returned


@dataclass(frozen=True)
class Outside:
    """What the task shall await itself, not in the greenlet: other people's code."""

    awaitable: Awaitable[Any]


def await_in_greenlet(awaitable: Awaitable[T]) -> T:
    """Await `awaitable` from synchronous code that `run_in_greenlet` has called.

    The awaitable is driven here, in the greenlet: only what really suspends reaches the task, so
    a coroutine that is ready at once costs no switch.
    """
    call = getcurrent()
    steps = awaitable.__await__()
    if not isinstance(call, CallGreenlet):
        steps.close()
        raise SynchronousOnlyOperation(
            "This database connection belongs to the async ORM: it works only inside "
            "run(function, ...) and the a… methods."
        )
    try:
        future = next(steps)
        while True:
            try:
                value = call.suspend(future)
            except BaseException as error:
                future = steps.throw(error)
            else:
                future = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def finish(awaitable: Awaitable[None], tasks: set[Task[None]]) -> None:
    """Like `await_in_greenlet`, but to the end, also if this task is cancelled meanwhile.

    Nearly always there is nothing to wait for. Otherwise a task, kept in `tasks`, sees to the rest.
    """
    steps = awaitable.__await__()
    try:
        future = next(steps)
    except StopIteration:
        return
    task = create_task(_resume(steps, future))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    await_in_greenlet(shield(task))


async def _resume(steps: Generator[Any, Any, None], future: Any) -> None:
    try:
        while True:
            try:
                value = await _step(future)
            except BaseException as error:
                future = steps.throw(error)
            else:
                future = steps.send(value)
    except StopIteration:
        return


@coroutine
def _step(future: Any) -> Generator[Any, Any, Any]:
    """Hand what a coroutine yielded to the task, as if this coroutine had yielded it."""
    return (yield future)
