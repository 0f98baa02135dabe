"""Training: state, step, sharding, checkpoints, progress."""
