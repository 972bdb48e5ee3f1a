"""Deletion of old jobs, and of the blobs that nothing needs."""
