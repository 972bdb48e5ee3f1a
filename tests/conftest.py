"""Makes the modules of this folder importable for all tests."""
