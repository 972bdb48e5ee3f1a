"""Jobs, their output, and worker records in Firestore."""
