"""Synthetic occlusion: what is pasted over unobstructed faces."""
