"""Windows of a subject, each with one of its class, for prior preservation.

The arrays of the class have the same names with `prior_` before them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from diffmvr_jax.data.batches import Windows
from diffmvr_jax.data.windows import Window

_PRIOR = "prior_"


class WithPrior:
  """Adds a window of the class to each window of the subject, in turn.

  Args:
    subject: windows of what is learned.
    of_class: windows that show others of its kind.
  """

  def __init__(self, subject: Windows, of_class: Windows):
    self._subject, self._of_class = subject, of_class

  def __len__(self) -> int:
    """As many as there are of both, so that every window of each is used."""
    return max(len(self._subject), len(self._of_class))

  def __repr__(self) -> str:
    return f"WithPrior({self._subject!r}, {self._of_class!r})"

  def read(self, indices: Sequence[int], flips: Sequence[bool]) -> Window:
    """Reads windows of both, as `WindowSource.read`."""
    own = self._subject.read([i % len(self._subject) for i in indices], flips)
    prior = self._of_class.read(
      [i % len(self._of_class) for i in indices], flips
    )
    del prior["window_id"]
    return own | {f"{_PRIOR}{name}": value for name, value in prior.items()}


def own_part(batch: Mapping[str, Any]) -> dict[str, Any]:
  """The arrays of the subject."""
  return {k: v for k, v in batch.items() if not k.startswith(_PRIOR)}


def prior_part(batch: Mapping[str, Any]) -> dict[str, Any]:
  """The arrays of the class, by their usual names.

  Example:
    >>> prior_part({"mask": 1, "prior_mask": 2})
    {'mask': 2}
  """
  return {
    name.removeprefix(_PRIOR): value
    for name, value in batch.items()
    if name.startswith(_PRIOR)
  }
