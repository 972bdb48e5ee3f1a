"""A job's results on this machine."""
