"""Use cases of the executor API, of our own workers, and of the sweep."""
