"""Faces for the occluder stage, covered and in circumstances of many kinds.

Half of the faces are covered by what covers another one in the batch: moved,
turned, mirrored, larger or smaller, in other colours, some in the face's own,
some blurred by a motion of their own, so that a few hundred become many.

Between the crop and the free one beside it much may change that covers nothing:
the head and what is behind it move, eyes close, a mouth opens, light and
sharpness differ. So the free crop is bent, a round part of one of the two is
another person's, what surrounds the free face has moved or is another
person's, mouths are drawn open, and each crop has its own light, blur and
noise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float

from diffmvr_jax.models.frames import flatten_frames, to_float
from diffmvr_jax.models.warping import warp
from diffmvr_jax.training.inputs import Batch

_VISIBLE = 0.06  # change of a colour that is seen, for images in [−1, 1]
_RIM = 40  # a mask reaches beyond the occluder by the crop's side / _RIM
_EXCHANGED = 0.5  # share of faces that get another one's occluder
_REACH = 0.5  # how far it moves at most, as a share of the side
_SCALES = 0.7, 2.5  # how large it becomes
_TURN = 0.5  # standard deviation of its turn, in radians
_ALIKE = 0.4  # share of exchanged occluders in the colour of the face
_SMEARED = 0.35  # share of exchanged occluders that move while they are filmed
_SMEAR = 0.09  # how far they do at most to either side, as a share of the side
_LEAST_SHARE = 0.15  # of a pixel that is covered, if its occluder is smeared
_BENT = 8  # knots per side of the field that bends the free crop
_BEND = 0.015  # how far it goes, as a share of the side: standard deviation
_REPLACED = 0.25  # share of faces of which a part is another person's
_ELSEWHERE = 0.1  # share of free crops with another person's surroundings
_MOVED = 0.25  # share of free crops whose surroundings have moved
_FAR = 0.12  # how far they have: standard deviation, as a share of the side
_OPENED = 0.3  # share of faces of which one crop gets an open mouth
_BLURRED = 0.2  # share of crops that are blurred


@struct.dataclass
class Faces:
  """Crops of faces, in [−1, 1], each with the last free one before it.

  Attributes:
    crop: the crop, covered or free.
    truth: the same without what covers it.
    mask: 1 on what covers it, its shadow, and a narrow rim.
    free: the last free crop.
    free_valid: whether there is one.
  """

  crop: Float[Array, "*n h w 3"]
  truth: Float[Array, "*n h w 3"]
  mask: Float[Array, "*n h w 1"]
  free: Float[Array, "*n h w 3"]
  free_valid: Bool[Array, "*n"]


def faces(batch: Batch) -> Faces:
  """The frames of a batch, as `data.windows` reads them."""
  flat = {name: flatten_frames(value) for name, value in batch.items()}
  return Faces(
    crop=to_float(flat["frame"]),
    truth=to_float(flat["target"]),
    mask=flat["mask"].astype(jnp.float32),
    free=to_float(flat["past"]),
    free_valid=flat["past_valid"],
  )


def varied(keys: Array, own: Faces) -> Faces:
  """The faces under exchanged occluders, and in other circumstances.

  Args:
    keys: one per face.
    own: the faces as they are in the records.
  """

  def turned(faces: Faces, by: int) -> Faces:
    return jax.tree.map(lambda x: jnp.roll(x, by, 0), faces)

  keys = jax.vmap(lambda key: jax.random.split(key, 7))(keys)
  seen = jax.vmap(_exchanged)(keys[:, 0], own, turned(own, 1))
  bend = jax.vmap(_bend)(keys[:, 1], own.free)
  free = warp(own.free, bend)
  free = jax.vmap(_elsewhere)(keys[:, 2], free, turned(own, 3).truth)
  seen = seen.replace(free=free)
  seen = jax.vmap(_partly_replaced)(keys[:, 3], seen, turned(own, 2).truth)
  seen = jax.vmap(_opened)(keys[:, 4], seen)
  return seen.replace(
    crop=jax.vmap(_filmed)(keys[:, 5], seen.crop),
    free=jax.vmap(_filmed)(keys[:, 6], seen.free),
  )


def occluder_alone(
  crop: Float[Array, "h w 3"],
  truth: Float[Array, "h w 3"],
  mask: Float[Array, "h w 1"],
) -> Float[Array, "h w 1"]:
  """How much of each pixel the occluder takes: the mask without its rim."""
  rim = max(1, round(len(mask) / _RIM))
  inner = -mask[None]
  for window in ((2 * rim + 1, 1), (1, 2 * rim + 1)):
    inner = nn.max_pool(inner, window, (1, 1), "SAME")
  apart = jnp.abs(crop - truth).max(-1, keepdims=True)
  changed = mask * (apart > _VISIBLE)
  # Where occluder and skin happen to have one colour, it is covered too.
  both = jnp.maximum(-inner[0], changed)
  return _smooth(both)


def _smooth(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
  square, strides = (3, 3), (1, 1)
  return nn.avg_pool(
    image[None], square, strides, "SAME", count_include_pad=False
  )[0]


def _exchanged(key: Array, own: Faces, other: Faces) -> Faces:
  """Perhaps with the other one's occluder instead of its own."""
  keys = jax.random.split(key, 5)
  share = occluder_alone(other.crop, other.truth, other.mask)
  # Colours are weighed by their shares, so that a blur takes none from behind.
  layer = jnp.concatenate([share * other.crop, other.mask, share], -1)
  layer = jnp.where(jax.random.bernoulli(keys[0]), layer[:, ::-1], layer)
  layer, smeared = _moved_layer(keys[1], layer)
  colour, mask, share = layer[..., :3], layer[..., 3:4], layer[..., 4:]
  colour = colour / jnp.maximum(share, 1e-3)
  seen = share > _LEAST_SHARE
  mask = jnp.where(smeared, seen, mask > 0.5).astype(mask.dtype)
  gain = jnp.exp(0.2 * jax.random.normal(keys[2], (3,)))
  skin = _mean(own.truth, _face(len(share))) / _mean(colour, share)
  alike = jax.random.bernoulli(keys[4], _ALIKE)
  gain = gain * jnp.where(alike, jnp.clip(skin, 0.3, 3), 1)
  colour = jnp.clip((colour + 1) * gain - 1, -1, 1)
  covered = own.truth + share * (colour - own.truth)
  exchanged = jax.random.bernoulli(keys[3], _EXCHANGED)
  return own.replace(
    crop=jnp.where(exchanged, covered, own.crop),
    mask=jnp.where(exchanged, mask, own.mask),
  )


def _moved_layer(
  key: Array, layer: Float[Array, "h w c"]
) -> tuple[Float[Array, "h w c"], Bool[Array, ""]]:
  """The layer elsewhere, turned and scaled; and whether a motion smears it.

  It is smeared along its rows before it is turned, so in any direction.
  """
  keys = jax.random.split(key, 5)
  size = len(layer)
  smeared = jax.random.bernoulli(keys[0], _SMEARED)
  radius = smeared * _SMEAR * size * jax.random.uniform(keys[1])
  sums = jnp.pad(jnp.cumsum(layer, 1), ((0, 0), (1, 0), (0, 0)))
  places = jnp.arange(size)
  first = jnp.maximum(places - jnp.round(radius), 0).astype(jnp.int32)
  last = jnp.minimum(places + jnp.round(radius), size - 1).astype(jnp.int32)
  count = (last + 1 - first)[:, None]
  layer = (sums[:, last + 1] - sums[:, first]) / count
  low, high = jnp.log(jnp.array(_SCALES))
  scale = jnp.exp(jax.random.uniform(keys[2], minval=low, maxval=high))
  angle = _TURN * jax.random.normal(keys[3])
  shift = _REACH * size * jax.random.uniform(keys[4], (2,), minval=-1)
  centred = places - (size - 1) / 2
  x, y = jnp.meshgrid(centred - shift[0], centred - shift[1])
  cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
  source = jnp.stack([x * cos - y * sin, x * sin + y * cos], -1)
  flow = source - jnp.stack(jnp.meshgrid(centred, centred), -1)
  inside = (jnp.abs(source) <= size / 2).all(-1, keepdims=True)
  return warp(layer[None], flow[None])[0] * inside, smeared


def _bend(key: Array, image: Float[Array, "h w 3"]) -> Float[Array, "h w 2"]:
  """A smooth flow, in pixels: everything moves, and each part by itself."""
  size = len(image)
  keys = jax.random.split(key)
  knots = jax.random.normal(keys[0], (1, _BENT, _BENT, 2))
  field = jax.image.resize(knots, (1, size, size, 2), "cubic")[0]
  whole = jax.random.normal(keys[1], (2,))
  return _BEND * size * (field + whole)


def _elsewhere(
  key: Array, free: Float[Array, "h w 3"], other: Float[Array, "h w 3"]
) -> Float[Array, "h w 3"]:
  """The face stays; its surroundings have moved, or are the other person's."""
  keys = jax.random.split(key)
  size = len(free)
  face = _face(size)
  way = _FAR * size * jax.random.normal(keys[0], (2,))
  moved = warp(free[None], jnp.broadcast_to(way, (1, size, size, 2)))[0]
  kind = jax.random.uniform(keys[1])
  there = jnp.where(
    kind < _ELSEWHERE, other, jnp.where(kind < _ELSEWHERE + _MOVED, moved, free)
  )
  return free + (1 - face) * (there - free)


def _partly_replaced(
  key: Array, seen: Faces, other: Float[Array, "h w 3"]
) -> Faces:
  """Perhaps a part of the crop or the free one is the other person's."""
  keys = jax.random.split(key, 3)
  size = len(other)
  centre = jax.random.uniform(keys[0], (2,), minval=0.2, maxval=0.95)
  radii = jax.random.uniform(keys[1], (2,), minval=0.06, maxval=0.25)
  part = _ellipse(size, centre, radii)

  def replaced(image: Array, share: Array) -> Array:
    matched = (other + 1) * _mean(image, share) / _mean(other, share) - 1
    return image + share * (jnp.clip(matched, -1, 1) - image)

  return _in_one(keys[2], _REPLACED, seen, part, replaced)


def _opened(key: Array, seen: Faces) -> Faces:
  """Perhaps the mouth is open in the crop or in the free one."""
  keys = jax.random.split(key, 6)
  size = len(seen.crop)
  centre = jnp.array([0.68, 0.5]) + 0.04 * jax.random.normal(keys[0], (2,))
  low, high = jnp.array([0.02, 0.04]), jnp.array([0.12, 0.11])
  radii = low + (high - low) * jax.random.uniform(keys[1], (2,))
  mouth = _ellipse(size, centre, radii)
  up = radii[0] * jnp.array([1, 0])
  narrow = radii * jnp.array([0.5, 0.8])
  teeth = mouth * _ellipse(size, centre - up, narrow)
  tongue = mouth * _ellipse(size, centre + up, narrow)
  is_seen = jax.random.bernoulli(keys[2], 0.5, (2,))
  shades = jax.random.uniform(keys[3], (3,), minval=0.6, maxval=1.2)

  def opened(image: Array, share: Array) -> Array:
    light = (image + 1).mean()  # of dark pictures even teeth are dark
    for part, colour, shade, there in (
      (mouth, (0.3, 0.12, 0.12), shades[0], True),
      (teeth, (1.3, 1.2, 1.1), shades[1], is_seen[0]),
      (tongue, (0.9, 0.45, 0.45), shades[2], is_seen[1]),
    ):
      ink = jnp.clip(light * shade * jnp.array(colour) - 1, -1, 1)
      image = image + share * part * there * (ink - image)
    return image

  return _in_one(keys[4], _OPENED, seen, mouth > 0, opened)


def _in_one(
  key: Array,
  probability: float,
  seen: Faces,
  part: Array,
  change: Callable[[Array, Array], Array],
) -> Faces:
  """Perhaps changes a part of the crop or of the free one.

  What covers the face stays on top.
  """
  keys = jax.random.split(key)
  happens = jax.random.bernoulli(keys[0], probability)
  in_free = jax.random.bernoulli(keys[1])
  share = happens * part * jnp.where(in_free, 1, 1 - seen.mask)
  image = change(jnp.where(in_free, seen.free, seen.crop), share)
  return seen.replace(
    free=jnp.where(in_free, image, seen.free),
    crop=jnp.where(in_free, seen.crop, image),
  )


def _mean(
  image: Float[Array, "h w 3"], share: Float[Array, "h w 1"]
) -> Float[Array, " 3"]:
  """The mean colour where `share` is, in 0 … 2."""
  total = (share * (image + 1)).sum((0, 1))
  return (total + 1e-3) / (share.sum() + 1e-3)


def _face(size: int) -> Array:
  """Where a crop shows the face."""
  return _ellipse(size, jnp.array([0.52, 0.5]), jnp.array([0.44, 0.34]))


def _ellipse(size: int, centre: Array, radii: Array) -> Array:
  """1 inside and 0 outside, with a soft edge; sides of the crop are 1."""
  places = (jnp.arange(size) + 0.5) / size
  places = jnp.stack(jnp.meshgrid(places, places, indexing="ij"), -1)
  away = ((places - centre) / radii) ** 2
  return jnp.clip(2 * (1.25 - away.sum(-1, keepdims=True)), 0, 1)


def _filmed(key: Array, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
  """In other light, perhaps blurred, with a camera's noise."""
  keys = jax.random.split(key, 5)
  light = jnp.exp(0.12 * jax.random.normal(keys[0], (1, 1, 1)))
  tint = jnp.exp(0.04 * jax.random.normal(keys[1], (1, 1, 3)))
  soft = _smooth(image)
  image = jnp.where(jax.random.bernoulli(keys[2], _BLURRED), soft, image)
  # As coarse as a codec leaves it.
  grain = jax.random.normal(keys[3], (len(image) // 2, len(image) // 2, 3))
  noise = grain.repeat(2, 0).repeat(2, 1)
  noise *= 0.02 * jax.random.uniform(keys[4])
  return jnp.clip((image + 1) * light * tint - 1 + noise, -1, 1)
