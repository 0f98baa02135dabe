"""Records on disk and the windows that training and evaluation read."""
