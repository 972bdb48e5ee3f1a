"""What the commands print: messages, tables of jobs and workers, a job's output, and progress."""
