"""Quality metrics as pure functions."""
