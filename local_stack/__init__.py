"""The local stack: the server, a worker and the upkeep as separate processes under one supervisor."""
