"""What a restored frame shows, in one word."""

from enum import Enum

import numpy as np

from diffmvr_jax.inference.stream import RestoredFrame

# Under a mask of which so much was never seen, most is invented.
_MOSTLY = 0.5


class State(Enum):
  """The states of a frame; the page has words and colours for them."""

  NO_FACE = "no face"
  FREE = "free"
  COVERED = "covered"
  UNSEEN = "unseen"


def state_of(done: RestoredFrame) -> State:
  """Returns what a frame shows.

  `UNSEEN` means that most of what is under the mask was never seen.
  """
  record = done.source.record
  if record is None:
    return State.NO_FACE
  if done.alpha is None:
    return State.FREE
  return State.UNSEEN if share_known(done) < 1 - _MOSTLY else State.COVERED


def share_known(done: RestoredFrame) -> float:
  """Returns the share of the covered pixels that were seen before, in [0, 1].

  It is 1 if nothing is covered, or if the method does not tell.
  """
  record = done.source.record
  if record is None or record.propagated_confidence is None:
    return 1.0
  covered = record.propagated_confidence[record.mask > 0]
  return float(np.mean(covered > 0)) if covered.size else 1.0
