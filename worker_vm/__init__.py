"""The worker: takes jobs, runs their commands, stores the results."""
