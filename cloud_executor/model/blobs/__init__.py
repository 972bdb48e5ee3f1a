"""Files and artifacts: their metadata, media types, and names in zips."""
