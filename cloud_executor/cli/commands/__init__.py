"""The subcommands. Each module is loaded only when one of its commands is used."""
