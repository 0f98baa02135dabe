"""Evaluation: what is compared, how it is told."""
