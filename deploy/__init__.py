"""Deploys to Google Cloud from a person's own machine: `python -m deploy`."""
