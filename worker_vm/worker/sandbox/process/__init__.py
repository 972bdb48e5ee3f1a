"""Commands as plain processes of this machine."""
