"""Weights in and out: one key table per layout, files read and written."""
