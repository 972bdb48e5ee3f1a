"""Cloud Executor: run command-line jobs through WebGME's blob and executor protocol."""
