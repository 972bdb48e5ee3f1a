"""Who sends a request, what they may do, and what is theirs."""
