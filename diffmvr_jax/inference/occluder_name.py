"""What `--occluder` names: the model's own network, a detector, or both."""

from dataclasses import dataclass

_LEARNED = "learned"  # the model's own network
_BESIDE = f"{_LEARNED},"  # before the name of a detector that works beside it


@dataclass(frozen=True)
class Occluder:
  """Who finds what covers a face.

  Attributes:
    learned: whether the model's own network does.
    detector: name of the detector that does, as `Recipe.occluder` takes it;
      None: none does.
  """

  learned: bool
  detector: str | None


def named(occluder: str) -> Occluder:
  """Reads such a name.

  Example:
    >>> named("learned,mediapipe")
    Occluder(learned=True, detector='mediapipe')
    >>> named("masks:hands.mp4")
    Occluder(learned=False, detector='masks:hands.mp4')
  """
  if occluder == _LEARNED:
    return Occluder(learned=True, detector=None)
  if occluder.startswith(_BESIDE):
    return Occluder(learned=True, detector=occluder.removeprefix(_BESIDE))
  return Occluder(learned=False, detector=occluder)


def usual(has_network: bool) -> Occluder:
  """Who does if nothing is named.

  Args:
    has_network: whether the model has such a network, and it can be used.
  """
  return Occluder(learned=has_network, detector="mediapipe")
