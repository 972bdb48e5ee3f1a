"""The process sandbox: commands are plain processes of this machine."""
