"""The HTTP edge: a request comes in, a use case is called, a response goes out."""
