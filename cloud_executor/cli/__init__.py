"""The `executor` command."""
