"""Who may use the server: tokens, and accounts of Google."""
