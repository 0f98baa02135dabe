"""The pretrained networks that some metrics need, loaded from their files."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import sha256
from diffmvr_jax.metrics.clip_metrics import (
  Compare,
  Embed,
  Images,
  MetricNetworks,
)
from diffmvr_jax.metrics.faces import (
  FaceComparison,
  FaceEmbedder,
  LandmarkFinder,
)
from diffmvr_jax.metrics.networks import i3d, inception
from diffmvr_jax.metrics.networks.lpips import WIDTHS, AlexNet, Lpips
from diffmvr_jax.metrics.networks.pytorch_weights import (
  Layout,
  read_network,
  shapes_of,
)
from diffmvr_jax.metrics.weight_files import NEEDED_BY, find_weight_files
from diffmvr_jax.weights.files import open_tensors

_BATCH = 8  # images at a time
_SMALLEST = 64  # pixels, for LPIPS; smaller images are enlarged
_I3D_EPS = {"i3d_pretrained_400.pt": 1e-5}  # others have TensorFlow's 1e-3


@dataclass(frozen=True, kw_only=True)
class LoadedNetworks:
  """The networks whose weights were found.

  Attributes:
    networks: the networks; None for those that are missing.
    digests: SHA-256 of each file of weights, by metric and file name.
    missing: by metric that cannot be computed, what the user can do about it.
  """

  networks: MetricNetworks
  digests: dict[str, dict[str, str]]
  missing: dict[str, str]


def load_networks(
  folder: Path | None, metrics: Collection[str] = tuple(NEEDED_BY)
) -> LoadedNetworks:
  """Loads the networks of metrics, as far as their weights are found.

  Args:
    folder: folder to look for weights in; see `find_weight_files` for others.
    metrics: names of metrics; many of them need no network.

  Raises:
    InputError: a file is found, but it is not what it should be.
  """
  found = find_weight_files(folder, metrics)
  files = found.files
  return LoadedNetworks(
    networks=MetricNetworks(
      lpips=load_lpips(*files["lpips"]) if "lpips" in files else None,
      inception=_load_inception(files),
      i3d=load_i3d(*files["fvd"]) if "fvd" in files else None,
      faces=_load_faces(files),
    ),
    digests={
      metric: {path.name: sha256(path) for path in paths}
      for metric, paths in files.items()
    },
    missing=found.missing,
  )


def _load_inception(files: Mapping[str, list[Path]]) -> Embed | None:
  for metric in ("fid", "fid_paper"):
    if metric in files:
      return load_inception(*files[metric])
  return None


def _load_faces(files: Mapping[str, list[Path]]) -> Compare | None:
  if "identity" in files:
    sface, landmarks = files["identity"]
    embedder = FaceEmbedder(sface)
  elif "landmarks" in files:
    (landmarks,) = files["landmarks"]
    embedder = None
  else:
    return None
  return FaceComparison(LandmarkFinder(landmarks.parent), embedder)


def load_inception(path: Path) -> Embed:
  """The features that FID takes of images of any size.

  Raises:
    InputError: the file is not pytorch-fid's.
  """
  network, size = inception.Inception(), inception.INPUT_SIZE
  shapes = shapes_of(network, (1, size, size, 3))
  layout = Layout(convolution="conv", eps=1e-3)
  features = _program(network, read_network(path, shapes, layout))

  def embed(images: Images) -> np.ndarray:
    return _batched(lambda x: (features(x),), _resized(images, size))[0]

  return embed


def load_i3d(path: Path) -> Embed:
  """The features that FVD takes of videos of any size.

  Raises:
    InputError: the file is not I3D's.
  """
  network, size = i3d.I3D(), i3d.INPUT_SIZE
  shapes = shapes_of(network, (1, 16, size, size, 3))
  layout = Layout(convolution="conv3d", eps=_I3D_EPS.get(path.name, 1e-3))
  features = _program(network, read_network(path, shapes, layout))

  def embed(videos: Images) -> np.ndarray:
    # One at a time: a video is as much work as a batch of images.
    rows = [features(_resized(video, size)[None]) for video in videos]
    return np.concatenate([np.asarray(row) for row in rows])

  return embed


def load_lpips(backbone: Path, heads: Path) -> Compare:
  """LPIPS of images of any size, whole and in the mask.

  Args:
    backbone: torchvision's AlexNet.
    heads: the linear layers of LPIPS 0.1.

  Raises:
    InputError: a file is something else.
  """
  image = (1, _SMALLEST, _SMALLEST, 3)
  params: dict[str, Any] = {
    "alexnet": read_network(backbone, shapes_of(AlexNet(), image), Layout())
  }
  tensors = open_tensors(heads)
  for layer, width in enumerate(WIDTHS):
    name = f"lin{layer}.model.1.weight"
    if name not in tensors or tensors[name].shape != (1, width, 1, 1):
      raise InputError(f"{heads}: no {name} of {width} channels")
    params[f"lin{layer}"] = tensors[name].float32().reshape(width)
  apply = _program(Lpips(), params)

  def compare(
    restored: np.ndarray, target: np.ndarray, mask: np.ndarray
  ) -> dict[str, np.ndarray]:
    height, width = mask.shape[1:3]
    scale = max(1, -(-_SMALLEST // min(height, width)))
    enlarged = [
      x.repeat(scale, 1).repeat(scale, 2) for x in (restored, target, mask)
    ]
    whole, inside = _batched(
      lambda x, y, m: apply(_scaled(x), _scaled(y), m.astype(np.float32)),
      *enlarged,
    )
    return {"lpips": whole, "lpips_mask": inside}

  return compare


def _program(network: nn.Module, params: dict) -> Callable:
  params = jax.tree.map(jnp.asarray, params)
  program = jax.jit(lambda p, *inputs: network.apply({"params": p}, *inputs))
  return partial(program, params)


def _batched(
  run: Callable[..., tuple], *arrays: np.ndarray
) -> list[np.ndarray]:
  """Runs on some rows at a time, always as many: one program does it all."""
  parts = []
  for start in range(0, len(arrays[0]), _BATCH):
    rows = [array[start : start + _BATCH] for array in arrays]
    count = len(rows[0])
    filled = np.arange(_BATCH) % count
    outputs = run(*(part[filled] for part in rows))
    parts.append([np.asarray(output)[:count] for output in outputs])
  return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _scaled(images: np.ndarray) -> np.ndarray:
  return images.astype(np.float32) / 127.5 - 1


def _resized(images: Images, size: int) -> np.ndarray:
  """As PyTorch's bilinear interpolation: half-pixel centres, no smoothing."""
  return np.stack(
    [
      cv2.resize(_scaled(i), (size, size), interpolation=cv2.INTER_LINEAR)
      for i in images
    ]
  )
