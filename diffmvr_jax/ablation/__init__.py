"""Sweeps over variants of one experiment."""
