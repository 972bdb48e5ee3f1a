"""The formats of documents from users: JSON as JavaScript writes it, and `executor_config.json`."""
