"""Learn that the process is told to stop while its clients are still connected."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def before_stop(callback: Callable[[], None]) -> Iterator[None]:
    """Within the block, call `callback` on the event loop when a signal tells the process to stop.

    What the server does on that signal happens all the same. The lifespan protocol cannot serve
    here: it tells of the end only after all connections are closed.
    """
    loop = asyncio.get_running_loop()
    replaced: dict[int, Callable[[int, FrameType | None], object]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        replaced[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            handler = signal.getsignal(number)
            if callable(handler):
                replaced[number] = handler
                signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
