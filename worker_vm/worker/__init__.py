"""One worker process, with a thread for each of its slots: `main.py` starts it, `run_job.py` is what a slot does."""
