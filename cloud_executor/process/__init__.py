"""What every program of this project does with its own process."""
