"""Jobs and the queue in one SQLite database: the embedded backend."""
