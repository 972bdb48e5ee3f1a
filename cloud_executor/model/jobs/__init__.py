"""Jobs and their transitions, and the workers and pools that run them."""
