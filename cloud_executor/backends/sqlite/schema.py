"""The tables of the embedded database, as the steps that lead to them, and the form of their values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def stored_text(text: str) -> bytes:
    """Any text, also with lone surrogates or NUL, which SQLite's own texts cannot hold; sorts as the text does."""
    return text.encode("utf-8", "surrogatepass")


def loaded_text(stored: bytes) -> str:
    """The inverse of `stored_text`."""
    return stored.decode("utf-8", "surrogatepass")


def stored_moment(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # The columns beside `body` repeat what queries need of it.
        """
        CREATE TABLE jobs (
            hash BLOB NOT NULL UNIQUE,
            user_id BLOB NOT NULL,
            create_time BLOB NOT NULL,
            status BLOB NOT NULL,
            unpublished BLOB,
            lease_expires INTEGER,
            output_expires INTEGER,
            body BLOB NOT NULL
        )
        """,
        "CREATE INDEX jobs_of_all ON jobs (create_time, hash)",
        "CREATE INDEX jobs_of_status ON jobs (status, create_time, hash)",
        "CREATE INDEX jobs_of_user ON jobs (user_id, create_time, hash)",
        "CREATE INDEX jobs_of_user_and_status ON jobs (user_id, status, create_time, hash)",
        "CREATE INDEX jobs_unpublished ON jobs (unpublished) WHERE unpublished IS NOT NULL",
        "CREATE INDEX jobs_leased ON jobs (lease_expires) WHERE lease_expires IS NOT NULL",
        "CREATE INDEX jobs_with_output ON jobs (output_expires) WHERE output_expires IS NOT NULL",
        """
        CREATE TABLE output (
            job_hash BLOB NOT NULL,
            number INTEGER NOT NULL,
            text BLOB NOT NULL,
            PRIMARY KEY (job_hash, number)
        )
        """,
        """
        CREATE TABLE workers (
            client_id BLOB PRIMARY KEY NOT NULL,
            last_seen INTEGER NOT NULL,
            body BLOB NOT NULL
        )
        """,
        """
        CREATE TABLE messages (
            pool BLOB NOT NULL,
            job_hash BLOB NOT NULL,
            visible_at INTEGER NOT NULL,
            token BLOB NOT NULL,
            PRIMARY KEY (pool, job_hash)
        )
        """,
        "CREATE INDEX messages_by_time ON messages (pool, visible_at)",
    ),
)
"""step n (from 1) takes a database of `user_version` n - 1 to n; a step that was released is never changed"""
