"""The machine that the worker runs on: health, metadata, and instance group."""
