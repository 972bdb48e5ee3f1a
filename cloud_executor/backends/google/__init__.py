"""Cloud Storage, Firestore, and Pub/Sub."""
