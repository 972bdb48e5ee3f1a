"""Selecting and storing a job's results."""
