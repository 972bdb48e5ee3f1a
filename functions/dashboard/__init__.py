"""The dashboard: a web page for people, and the routes that serve its files."""
