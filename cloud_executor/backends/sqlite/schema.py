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
    (
        """
        CREATE TABLE job_terms (
            term BLOB NOT NULL,
            create_time BLOB NOT NULL,
            hash BLOB NOT NULL,
            status BLOB NOT NULL,
            PRIMARY KEY (term, create_time, hash)
        ) WITHOUT ROWID
        """,
        # Jobs of earlier versions have no names or tags, and are in few of the terms.
        """
        INSERT OR IGNORE INTO job_terms
        SELECT CAST('label:' || json_each.value AS BLOB), create_time, hash, status
        FROM jobs, json_each(CAST(body AS TEXT), '$.labels') WHERE json_valid(CAST(body AS TEXT))
        """,
        """
        INSERT OR IGNORE INTO job_terms
        SELECT CAST(terms.kind || ':' || json_extract(CAST(body AS TEXT), '$.' || terms.kind) AS BLOB),
            create_time, hash, status
        FROM jobs, (SELECT 'worker' AS kind UNION ALL SELECT 'pool') AS terms
        WHERE json_extract(CAST(body AS TEXT), '$.' || terms.kind) IS NOT NULL
            AND (terms.kind = 'worker' OR status IN (CAST('CREATED' AS BLOB), CAST('RUNNING' AS BLOB)))
        """,
        "CREATE INDEX job_terms_of_status ON job_terms (term, status, create_time, hash)",
    ),
    ("CREATE TABLE tokens (id BLOB PRIMARY KEY NOT NULL, body BLOB NOT NULL)",),
    (
        """
        CREATE TABLE grants (
            user BLOB NOT NULL,
            content BLOB NOT NULL,
            size INTEGER NOT NULL,
            PRIMARY KEY (user, content)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX grants_of_content ON grants (content)",
        "CREATE TABLE granted_bytes (user BLOB PRIMARY KEY NOT NULL, bytes INTEGER NOT NULL)",
    ),
    (
        "CREATE TABLE limits (user BLOB NOT NULL, name BLOB NOT NULL, value INTEGER, PRIMARY KEY (user, name))",
        "CREATE TABLE uploads (user BLOB PRIMARY KEY NOT NULL, day BLOB NOT NULL, bytes INTEGER NOT NULL)",
    ),
    (
        # The pool that a waiting job waits for.
        "ALTER TABLE jobs ADD COLUMN waits_for BLOB",
        """
        UPDATE jobs SET waits_for = CAST(json_extract(CAST(body AS TEXT), '$.pool') AS BLOB)
        WHERE status = CAST('CREATED' AS BLOB)
        """,
        "DROP INDEX jobs_unpublished",
        "CREATE INDEX jobs_held ON jobs (user_id, waits_for, create_time, hash) WHERE unpublished IS NOT NULL",
        "CREATE INDEX jobs_queued ON jobs (waits_for, user_id, create_time, hash) WHERE message_lost_at IS NOT NULL",
    ),
    ("CREATE TABLE usage (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",),
)
"""Migrations: the nth, counted from 1, takes a database from `user_version` n - 1 to n. Never change a released one."""
