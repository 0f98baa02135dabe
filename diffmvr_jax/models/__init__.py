"""Flax networks: U-Net, autoencoder, CLIP tower, guidance."""
