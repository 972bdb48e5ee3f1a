"""Measures the real stack and prints every figure beside the limit of the machine: `python -m bench --help`."""
