"""Pretrained networks that metrics look through, in Flax."""
