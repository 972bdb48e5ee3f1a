"""The container sandbox: commands run in containers of a Docker Engine."""
