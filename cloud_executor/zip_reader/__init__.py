"""Reading untrusted zips with little memory. The client and the worker share it, so a zip means the same to both."""
