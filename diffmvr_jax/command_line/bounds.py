"""The range of a number, or the form of a name, beside the type it belongs to.

Settings declare theirs in `diffmvr_jax.config.schema`, commands in their
arguments (`diffmvr_jax.command_line.arguments`).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

_LARGEST = 2**31 - 1  # of the integers that JAX computes with


@runtime_checkable
class Bound(Protocol):
  """What a value has to fulfil beside its type."""

  def wrong(self, value: object) -> str | None:
    """Says what is wrong with a value; None if nothing is."""
    ...


@dataclass(frozen=True)
class Bounds:
  """The smallest and the largest value of a number; it must be finite.

  Attributes:
    low: the smallest value.
    high: the largest value.
    above_low: whether `low` itself is out of range.
    below_high: whether `high` itself is out of range.
    also: one more value that is allowed.

  Example:
    >>> Bounds(1).wrong(0)
    '0 is not at least 1'
    >>> Bounds(0, 1, above_low=True).wrong(1.5)
    '1.5 is not above 0 and at most 1'
  """

  low: int | float
  high: int | float = _LARGEST
  above_low: bool = False
  below_high: bool = False
  also: int | float | None = None

  def wrong(self, value: object) -> str | None:
    """Says what is wrong with a number; None if nothing is."""
    assert isinstance(value, int | float)
    if value == self.also:
      return None
    if isinstance(value, float) and not math.isfinite(value):
      return f"{value} is not a finite number"
    low = value > self.low if self.above_low else value >= self.low
    high = value < self.high if self.below_high else value <= self.high
    return None if low and high else f"{value} is not {self}"

  def __str__(self) -> str:
    low = f"{'above' if self.above_low else 'at least'} {self.low}"
    high = f"{'below' if self.below_high else 'at most'} {self.high}"
    text = low if self.high == _LARGEST else f"{low} and {high}"
    return text if self.also is None else f"{text}, or {self.also}"


class FileName:
  """A word that is one part of a path.

  Example:
    >>> FileName().wrong("../x")
    "'../x' is not a plain name: it must be no path and not empty"
  """

  def wrong(self, value: object) -> str | None:
    """Says what is wrong with a name; None if nothing is."""
    text = str(value)
    separators = any(character in "/\\" for character in text)
    if text.strip(". ") and not separators and text.isprintable():
      return None
    return f"{text!r} is not a plain name: it must be no path and not empty"


Seed = Annotated[int, Bounds(0, 2**63 - 1)]
Count = Annotated[int, Bounds(1)]
CountOrZero = Annotated[int, Bounds(0)]
Share = Annotated[float, Bounds(0, 1)]
ShareBelowOne = Annotated[float, Bounds(0, 1, below_high=True)]
ShareAboveZero = Annotated[float, Bounds(0, 1, above_low=True)]
Positive = Annotated[float, Bounds(0, above_low=True)]
NotNegative = Annotated[float, Bounds(0)]
PlainName = Annotated[str, FileName()]
