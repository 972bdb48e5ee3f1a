"""Fetching a job's source and unpacking it."""
