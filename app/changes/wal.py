"""How far the primary's write-ahead log has come: what a replica has to replay, to be current."""

from typing import Final

# Behind a page's header there may be no record yet; who replays stops before it.
POSITION: Final = """
    (SELECT CASE WHEN mod(place, block) = 24 OR mod(place, segment) = 40
        THEN place - mod(place, block)
        ELSE place END
    FROM (SELECT
        (pg_current_wal_insert_lsn() - '0/0')::bigint AS place,
        current_setting('wal_block_size')::bigint AS block,
        pg_size_bytes(current_setting('wal_segment_size')) AS segment
    ) AS wal)
"""
"""Where it ends, in bytes: a commit that the statement's snapshot shows was written before.

A transaction becomes visible after its commit record was inserted, whether that was flushed or not
(`CommitTransaction` in PostgreSQL's xact.c), and the statement asks after it took its snapshot.
"""
FLUSHED: Final = "(pg_current_wal_flush_lsn() - '0/0')::bigint"
"""As far it is sent to replicas."""


def flush(server_version: int) -> str:
    """Return a statement by which all that was written before is sent, too.

    What a transaction under way has written, or one with `synchronous_commit = off`, may stay for
    long otherwise. It takes no number of a transaction, and waits for no replica.
    """
    flushes_itself = ", true" if server_version >= 17_00_00 else ""
    return f"SELECT pg_logical_emit_message(false, 'live', ''{flushes_itself})"
