"""One worker process, with one thread per slot. `main.py` starts it; `job_runner.py` is what a slot does."""
