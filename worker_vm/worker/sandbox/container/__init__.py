"""Commands in containers of a Docker Engine."""
