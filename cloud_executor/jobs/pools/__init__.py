"""The worker pools: their queues, their dead letters, and requests for workers."""
