"""Implementations of the ports: files, S3, SQLite, and Google Cloud, with the code that they share.

Only `cloud_executor.composition` imports them.
"""
