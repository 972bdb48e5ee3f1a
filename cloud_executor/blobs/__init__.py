"""Use cases of the blob API: content addressing, artifacts, and their zips."""
