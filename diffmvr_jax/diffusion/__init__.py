"""Noise schedule, losses and samplers: pure functions, one equation each."""
