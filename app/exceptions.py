"""What all exceptions of this package have in common."""


class LiveError(Exception):
    """The base of every exception class of this package."""


def first_line(error: BaseException) -> str:
    """Return what an error says, for the log: psycopg adds hints and other tries in more lines."""
    if lines := str(error).strip().splitlines():
        return lines[0]
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
