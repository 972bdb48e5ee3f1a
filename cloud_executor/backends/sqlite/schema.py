"""The tables of the embedded database, as a list of migrations, and the encoding of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_time(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # The columns other than `body` repeat the fields that queries need. Strings are BLOBs: SQLite's own strings
        # cannot hold lone surrogates or NUL.
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
    (
        "ALTER TABLE jobs ADD COLUMN message_lost_at INTEGER",
        "CREATE INDEX jobs_published ON jobs (message_lost_at) WHERE message_lost_at IS NOT NULL",
    ),
)
"""Migrations: the nth, counted from 1, takes a database from `user_version` n - 1 to n. Never change a released one."""
