"""YOLO models: a detector that runs the user's weights, and its training.

Ultralytics reads YOLOv8 and its successors alike. Its weight files are
pickles, which run code when they are loaded: use only files that you trust.
"""

import contextlib
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep.detections import NOTHING, Detections
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import find_named_model_file


class YoloDetector:
  """Objects of one class, as boxes or segmented.

  Args:
    weights: a `.pt` file, see `diffmvr_jax.files`.
    label: name of the class; None means `role`, or the model's only class.
    role: `face` or `occluder`, as `data_prep annotate` names them.
    confidence: detections that score less are ignored.

  Raises:
    InputError: there is no such file, it is not a YOLO model, or it has no
      such class.
  """

  overlooks = True
  CONFIDENCE = 0.25

  def __init__(
    self,
    weights: str | Path,
    label: str | None = None,
    *,
    role: str,
    confidence: float = CONFIDENCE,
  ):
    self._model = _load(weights_path(weights))
    self._confidence = confidence
    names: dict[int, str] = self._model.names
    wanted = label or role
    chosen = [number for number, name in names.items() if name == wanted]
    if label is None and len(names) == 1:
      chosen = list(names)
    if not chosen:
      raise InputError(
        f"{weights}: has no class {wanted!r}; add #CLASS, one of "
        f"{', '.join(names.values())}"
      )
    self._class = chosen[0]

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Finds the objects of a frame."""
    del index
    (result,) = self._model.predict(
      cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
      classes=[self._class],
      conf=self._confidence,
      retina_masks=True,  # at the frame's resolution
      verbose=False,
    )
    if not len(result.boxes):
      return NOTHING
    masks = None
    if result.masks is not None:
      masks = result.masks.data.cpu().numpy().astype(np.uint8)
    return Detections(
      boxes=result.boxes.xyxy.cpu().numpy().astype(np.float32),
      scores=result.boxes.conf.cpu().numpy().astype(np.float32),
      masks=masks,
    )

  def close(self) -> None:
    """Frees nothing: the model is kept for the next video."""


def weights_path(name: str | Path) -> Path:
  """Finds a weight file, see `diffmvr_jax.files`.

  Raises:
    InputError: there is no such file; the message says what to put where.
  """
  return find_named_model_file(
    name, option="yolo:WEIGHTS.pt", source="the weights of a YOLO model"
  )


def train(
  data: Path,
  *,
  task: str,
  model: str,
  out: Path,
  epochs: int,
  image_size: int,
  batch: int,
  device: str | None,
  seed: int,
) -> Path:
  """Trains a detector on a YOLO data set, or resumes its training.

  Args:
    data: the data set's `data.yaml`.
    task: `detect` for boxes or `segment` for outlines.
    model: an architecture such as `yolov8n.yaml`, trained from scratch, or
      weights to start from.
    out: folder of the training run.
    epochs: passes over the data.
    image_size: pixels that pictures are scaled to.
    batch: pictures per step.
    device: name of the device in PyTorch; None means a GPU if there is one.
    seed: decides the first weights and the order of the data.

  Returns:
    The best weights, `OUT/weights/best.pt`.

  Raises:
    InputError: there is no such data set, or the model has another task.
  """
  if not data.is_file():
    raise InputError(
      f"{data}: no such file; `python -m data_prep annotate` writes one"
    )
  best = out / "weights" / "best.pt"
  last = out / "weights" / "last.pt"
  yolo = import_ultralytics()
  if last.is_file():
    if _finished(last):
      return best
    _try(last, lambda: yolo.YOLO(last).train(resume=True))
    return best
  scratch = model.endswith((".yaml", ".yml"))
  if scratch and task == "segment" and "-seg" not in model:
    model = model.replace(".y", "-seg.y")
  source = model if scratch else weights_path(model)
  network = _try(source, lambda: yolo.YOLO(source))
  if network.task != task:
    raise InputError(f"{model}: is a {network.task} model, not a {task} one")
  network.add_callback("on_train_start", _use_all_cores)
  _try(
    data,
    lambda: network.train(
      data=str(data),
      epochs=epochs,
      imgsz=image_size,
      batch=batch,
      device=device,
      seed=seed,
      project=str(out.parent.resolve()),
      name=out.name,
      exist_ok=True,
      workers=min(2, os.cpu_count() or 1),
      plots=False,
      amp=False,  # its self-test fetches a model
      # By default gradients add up over 64 pictures, too few updates for a
      # short training.
      nbs=batch,
      hsv_h=0.05,  # more colours stand for more people and rooms
      close_mosaic=min(10, epochs // 3),  # the default is most of a short run
    ),
  )
  return best


def _use_all_cores(trainer: Any) -> None:
  """Lets PyTorch use every core, of which Ultralytics leaves one idle."""
  import torch

  if trainer.device.type == "cpu":
    torch.set_num_threads(os.cpu_count() or 1)


def _finished(weights: Path) -> bool:
  """Whether a training is finished: Ultralytics then sets its epoch to −1."""
  import torch

  return torch.load(weights, weights_only=False).get("epoch", -1) == -1


@lru_cache(maxsize=4)
def _load(path: Path) -> Any:
  yolo = import_ultralytics()
  network = _try(path, lambda: yolo.YOLO(path))
  if network.task not in ("detect", "segment"):
    raise InputError(f"{path}: is a {network.task} model, not a detector")
  return network


def _try(path: object, action) -> Any:
  """Turns any error of Ultralytics into one that names the file."""
  try:
    return action()
  except InputError:
    raise
  except Exception as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    raise InputError(f"{path}: Ultralytics refuses it ({lines[0]})") from error


def import_ultralytics() -> Any:
  """Imports the package so that it neither downloads nor installs anything.

  Raises:
    InputError: it is not installed.

  Example:
    >>> import_ultralytics().YOLO.__name__
    'YOLO'
  """
  os.environ.setdefault("YOLO_OFFLINE", "true")
  os.environ.setdefault("YOLO_AUTOINSTALL", "false")
  try:
    # Ultralytics changes how arrays print, and writes a greeting.
    with np.printoptions(), contextlib.redirect_stdout(sys.stderr):
      import ultralytics
  except ImportError as error:
    raise InputError(
      f"ultralytics is not installed ({error}); pip install '.[yolo]'"
    ) from error
  return ultralytics
