"""Fits the prior of face flows to clips drawn from still portraits.

A drawn clip knows where each pixel of a frame lies in the still, so it knows
the true flow between any two of its frames. The crops are those that
`prepare` makes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_prep.faces import crop
from data_prep.faces.flow import sample
from data_prep.faces.flow_prior import GRID, FlowPrior
from data_prep.faces.landmarks import oval
from data_prep.faces.track import Face, track
from data_prep.portraits.clip import PortraitClip, load
from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.errors import InputError

_SIDE = 64  # pixels of the crops in which flow is followed
_FRAME = 96  # pixels of the drawn frames; only their flow is used
_FRAMES = 48
_ROUNDS = 6  # of Newton's method
_MOST = 0.2  # of the crop's side; larger flows are of pixels that left it


def fit_flow_prior(
  portraits: Sequence[str | Path],
  *,
  pairs: int = 20,
  seed: int = 0,
  models: str | Path | None = None,
) -> FlowPrior:
  """Fits the prior to one drawn clip of each portrait.

  The result depends on the files and the seed only.

  Args:
    portraits: pictures; those without a face are passed over.
    pairs: number of pairs of frames that are taken from each clip. Every pair
      is used mirrored, too.
    seed: of the clips and the pairs.
    models: folder of MediaPipe's models.

  Raises:
    InputError: there is no face in any of the portraits.
  """
  flows = []
  for number, path in enumerate(progress_bar(portraits, unit="portrait")):
    try:
      portrait = load(path, models)
    except InputError:
      continue
    clip = PortraitClip(portrait, seed, frames=_FRAMES, size=_FRAME)
    rng = np.random.default_rng([seed, number])
    flows.extend(true_flows(clip, pairs, rng))
  if not flows:
    raise InputError("there is no face in any of the portraits")
  return FlowPrior.fit(np.stack(flows))


def true_flows(
  clip: PortraitClip, pairs: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
  """Yields true flows between the crops of two frames of a clip.

  The gap between the two frames is drawn from 1 frame to the whole clip, the
  short ones more often, as the frame before is a source of every frame.

  Args:
    clip: the clip.
    pairs: number of pairs of frames.
    rng: draws them.

  Yields:
    (GRID, GRID, 2) float32, in units of the crop's side.
  """
  places = list(_places_in_still(clip))
  for _ in range(pairs):
    gap = round(len(places) ** rng.uniform(0, 0.99))
    gap = min(max(gap, 1), len(places) - 1)
    then = int(rng.integers(len(places) - gap))
    flow = flow_between(places[then + gap], places[then])
    if np.abs(flow).max() < _MOST * _SIDE:
      coarse = cv2.resize(flow, (GRID, GRID), interpolation=cv2.INTER_AREA)
      yield coarse / np.float32(_SIDE)


def flow_between(now: np.ndarray, then: np.ndarray) -> np.ndarray:
  """The flow between two pictures of one still.

  With s_now and s_then the places in the still that their pixels show, the
  flow is f(p) = q − p with s_then(q) = s_now(p), found by Newton's method with
  one Jacobian for the whole picture.

  Args:
    now: (h, w, 2) float32, s_now.
    then: (h, w, 2) float32, s_then.

  Returns:
    (h, w, 2) float32, in pixels.
  """
  height, width = now.shape[:2]
  y, x = np.mgrid[:height, :width].astype(np.float32)
  grid = np.stack([x, y], -1)
  design = np.column_stack([grid.reshape(-1, 2), np.ones(height * width)])
  fitted = np.linalg.lstsq(design, then.reshape(-1, 2), rcond=None)[0]
  inverse = np.linalg.inv(fitted[:2]).astype(np.float32)
  places = ((now - fitted[2].astype(np.float32)) @ inverse).astype(np.float32)
  for _ in range(_ROUNDS):
    places -= (sample(then, places) - now) @ inverse
    np.clip(places, (-4, -4), (width + 3, height + 3), out=places)
  return places - grid


def _places_in_still(clip: PortraitClip) -> Iterator[np.ndarray]:
  """(_SIDE, _SIDE, 2) float32 of each frame's crop, pixels of the still."""
  y, x = np.mgrid[:_SIDE, :_SIDE]
  pixels = np.column_stack([x.ravel(), y.ravel()])
  seen = ((frame, _face(frame.landmarks)) for frame in clip.frames())
  for frame, tracked in track(seen, _SIDE):
    if tracked is None:
      continue
    back = crop.apply(crop.invert(tracked.transform), pixels)
    where = back.reshape(_SIDE, _SIDE, 2).astype(np.float32)
    yield where + sample(frame.flow, where)


def _face(landmarks: np.ndarray) -> Face:
  outline = oval(landmarks)
  box = np.concatenate([outline.min(0), outline.max(0)])
  return Face(box=box, landmarks=landmarks)
