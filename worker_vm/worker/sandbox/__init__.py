"""Sandboxes, which run jobs' commands: one interface, and one implementation per folder."""
