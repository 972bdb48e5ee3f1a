"""Running a job's command and sending its output."""
