"""DiffMVR in JAX: diffusion-based, reference-guided video restoration."""

__version__ = "0.1.0"
