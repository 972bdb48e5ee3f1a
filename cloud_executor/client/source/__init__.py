"""What a user submits as a job: a folder, a zip, or a command."""
