"""Which server the client uses, with which credentials, and where the user keeps them."""
