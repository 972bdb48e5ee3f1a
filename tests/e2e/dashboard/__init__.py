"""Tests of the dashboard in a real browser. Only in a package do pytest's fixtures of scope "package" end with it."""
