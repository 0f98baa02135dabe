"""Paints the part of a face that nobody has seen.

What is known of a frame, its visible part and what earlier frames showed of the
rest, surrounds a hole. With h = 1 in the hole, x what is known and x̄ the known
colours carried into it (`warping.carried`), what is painted is

  P = x̄ + e(x (1 − h), h, S),                                            (a)

where S is the symmetric image, if there is one, and e a U-Net that has learned
what faces look like: a coarse one over cells, whose deepest cells see the whole
face, and a fine stage at half the resolution. e starts at zero.
"""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from diffmvr_jax.config import PainterConfig
from diffmvr_jax.models.cell_unet import CellUNet, Residual, convolution
from diffmvr_jax.models.warping import (
  carried,
  depth_to_space,
  enlarge,
  space_to_depth,
)


class Painter(nn.Module):
  """The network; its output is the whole image, of which the hole counts.

  Example:
    >>> import jax
    >>> image, hole = jnp.full((1, 32, 32, 3), 0.5), jnp.ones((1, 32, 32, 1))
    >>> hole = hole.at[:, :, :16].set(0)
    >>> painted, _ = Painter(PainterConfig()).init_with_output(
    ...   jax.random.key(0), image, hole, image, jnp.ones(1))
    >>> round(float(painted.min()), 3), round(float(painted.max()), 3)
    (0.5, 0.5)
  """

  config: PainterConfig
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(
    self,
    image: Float[Array, "n h w 3"],
    hole: Float[Array, "n h w 1"],
    symmetric: Float[Array, "n h w 3"],
    symmetric_valid: Float[Array, " n"],
  ) -> Float[Array, "n h w 3"]:
    """Formula (a).

    Args:
      image: what is known, in [−1, 1]; the hole's pixels are not used.
      hole: 1 where nothing is known.
      symmetric: the symmetric images.
      symmetric_valid: 1 if there is a symmetric image.
    """
    config = self.config
    base = carried(image, 1 - hole)
    there = symmetric_valid[:, None, None, None]
    seen = jnp.concatenate(
      [
        jnp.where(hole > 0, base, image),
        hole,
        (symmetric - base) * hole * there,
        hole * there,
      ],
      -1,
    )
    cells = CellUNet(
      config.channels, config.blocks, self.dtype, normed=True, name="coarse"
    )(space_to_depth(seen, config.cell))
    told = convolution(config.features, 1, self.dtype, name="tell")(cells)
    x = convolution(config.fine_channels, 1, self.dtype, name="fine_in")(
      jnp.concatenate(
        [space_to_depth(seen, 2), enlarge(told, config.cell // 2)], -1
      )
    )
    for i in range(config.fine_blocks):
      x = Residual(
        config.fine_channels, self.dtype, normed=True, name=f"fine_{i}"
      )(x)
    start = nn.initializers.zeros
    fine = convolution(
      3 * 4, 1, jnp.float32, name="fine_out", kernel_init=start
    )(nn.silu(x))
    rough = convolution(
      3 * config.cell**2, 1, jnp.float32, name="rough", kernel_init=start
    )(cells)
    return base + depth_to_space(fine, 2) + depth_to_space(rough, config.cell)
