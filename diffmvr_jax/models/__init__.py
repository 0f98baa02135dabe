"""Flax networks: U-Net, autoencoder, CLIP towers, context tokens.

The letters of the axes in the shapes of this package and of those that build
on it; what a network sees is images, whatever windows they are from:

  b  windows of a batch             f  frames of a window
  n  images: batch · frame          s  all further axes, as `*s`
  h  rows of pixels or positions    i  rows of latents, or of another grid
  w  columns of the same            j  columns of the same
  q  queries: positions in a row    k  keys: tokens that are attended to
  c  channels                       o  channels of an output other than c
  l  channels of latents            d  channels of a context token
  e  channels of an embedding
"""
