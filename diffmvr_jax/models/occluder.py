"""Tells what covers a face, from its crop and the last one that was free.

Where there has been no free crop yet, it tells from the one picture alone. The
two crops are not aligned to a pixel, since heads move: what the crop shows is
looked for near the same place of the free one, which gives how much it differs
from what is found. A coarse U-Net over cells knows what faces look like, and a
fine stage at half the resolution follows outlines.
"""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Bool, Float

from diffmvr_jax.config import OccluderConfig
from diffmvr_jax.models.cell_unet import CellUNet, Residual, convolution
from diffmvr_jax.models.local_search import STEP, found_again
from diffmvr_jax.models.warping import depth_to_space, enlarge, space_to_depth


class Occluder(nn.Module):
  """The network.

  Example:
    >>> import jax
    >>> crop = jnp.zeros((1, 32, 32, 3))
    >>> logits, _ = Occluder(OccluderConfig()).init_with_output(
    ...   jax.random.key(0), crop, crop, jnp.array([False]))
    >>> logits.shape
    (1, 32, 32, 1)
  """

  config: OccluderConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    crop: Float[Array, "n h w 3"],
    free: Float[Array, "n h w 3"],
    free_valid: Bool[Array, " n"],
  ) -> Float[Array, "n h w 1"]:
    """Returns logits of the probability that a pixel is covered.

    Args:
      crop: the crops, in [−1, 1].
      free: for each the most recent crop that nothing covered.
      free_valid: whether there is one.
    """
    config = self.config
    there = free_valid[:, None, None, None]
    apart = jnp.where(there, crop - free, 0)
    known = jnp.broadcast_to(there, (*crop.shape[:2], crop.shape[2], 1)).astype(
      crop.dtype
    )
    seen = jnp.concatenate([crop, apart], -1)
    found = jnp.where(there, found_again(crop, free, config.reach), 0)
    cell = config.cell
    cells = CellUNet(
      config.channels, config.blocks, self.dtype, normed=True, name="coarse"
    )(
      jnp.concatenate(
        [
          space_to_depth(seen, cell),
          known[:, ::cell, ::cell],
          space_to_depth(found, cell // STEP),
        ],
        -1,
      )
    )
    told = convolution(config.features, 1, self.dtype, name="tell")(cells)
    x = convolution(config.fine_channels, 1, self.dtype, name="fine_in")(
      jnp.concatenate(
        [space_to_depth(seen, STEP), enlarge(told, cell // STEP), found], -1
      )
    )
    for i in range(config.fine_blocks):
      x = Residual(
        config.fine_channels, self.dtype, normed=True, name=f"fine_{i}"
      )(x)
    fine = convolution(STEP**2, 1, jnp.float32, name="fine_out")(nn.silu(x))
    rough = convolution(cell**2, 1, jnp.float32, name="rough")(cells)
    return depth_to_space(fine, STEP) + depth_to_space(rough, cell)
