"""Deploys to Google Cloud from a developer's machine: `python -m deploy`."""
