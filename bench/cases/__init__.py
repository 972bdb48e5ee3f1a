"""The benchmark's cases: what is measured, and the targets."""
