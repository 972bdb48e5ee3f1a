"""What is between a job's command and the worker: one port, and an implementation a file."""
