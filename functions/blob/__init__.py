"""HTTP routes of the blob API."""
