"""Restoration: video in, restored video out."""
