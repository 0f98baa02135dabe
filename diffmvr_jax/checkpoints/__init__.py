"""Training states and models on disk."""
