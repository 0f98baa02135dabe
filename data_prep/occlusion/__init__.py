"""What is pasted over faces that are free."""
