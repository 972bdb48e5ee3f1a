"""The local stack, `executor up`: the server and the workers, as processes of one supervisor."""
