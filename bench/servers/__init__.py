"""The servers that the benchmark starts: the systems it compares, and a static-file server as a limit."""
