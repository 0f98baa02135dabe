"""Faster ways to compute; no new mathematics."""
