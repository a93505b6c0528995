"""The change feed: who waits for a table learns that somebody has written to it."""
