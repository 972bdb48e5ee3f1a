"""Measures the real stack and prints each figure next to the machine's limit: `python -m bench --help`."""
