"""Jobs, their output, and the workers in Firestore."""
