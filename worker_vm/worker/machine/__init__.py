"""The machine that the worker runs on: health page, metadata, and instance group."""
