"""Result patterns: minimatch 3.0.3, matched in bounded time. Only the worker loads it."""
