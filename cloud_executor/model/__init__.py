"""Data and rules of blobs and jobs: pure, with no I/O, no clock and no randomness."""
