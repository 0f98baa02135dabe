"""Types of command-line arguments that commands share, and their parser.

A type refuses what it does not take with an `argparse.ArgumentTypeError`, whose
text names the value; the parser adds the argument's name.
"""

import argparse
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NoReturn

from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.errors import InputError

_SIDE = Bounds(1, 2**14)  # pixels
_MOST_PIXELS = 2**27  # of one frame: 400 MB
_RATE = re.compile(r"(?a:\d{1,9}(\.\d{1,9})?(/\d{1,9})?)")
_RATES = Bounds(0.01, 10_000)  # frames per second


class ArgumentParser(argparse.ArgumentParser):
  """A parser whose errors are one line, as all errors of the user are."""

  def error(self, message: str) -> NoReturn:
    """Refuses the arguments.

    Raises:
      InputError: always.
    """
    raise InputError(f"{' '.join(message.split())}; see {self.prog} --help")


def whole(low: int = 0, high: int = 2**31 - 1) -> Callable[[str], int]:
  """Makes the type of whole numbers from `low` to `high`.

  Example:
    >>> whole(1)("3")
    3
  """
  return _bounded(int, "a whole number", Bounds(low, high))


def number(bounds: Bounds) -> Callable[[str], float]:
  """Makes the type of finite numbers within bounds.

  Example:
    >>> number(Bounds(0, 1))("0.5")
    0.5
  """
  return _bounded(float, "a number", bounds)


def _bounded(kind: Callable[[str], Any], name: str, bounds: Bounds) -> Any:
  def parse(text: str) -> Any:
    try:
      # Python would take digits of any script, and 1_000.
      value = kind(text) if text.isascii() and "_" not in text else None
    except ValueError:
      value = None
    if value is None:
      raise argparse.ArgumentTypeError(f"{text!r} is not {name}")
    wrong = bounds.wrong(value)
    if wrong is not None:
      raise argparse.ArgumentTypeError(wrong)
    return value

  return parse


seed = whole(0, 2**32 - 1)


def frame_rate(text: str) -> Fraction:
  """Reads frames per second, `25`, `29.97` or `30000/1001`.

  Example:
    >>> frame_rate("30000/1001")
    Fraction(30000, 1001)
  """
  try:
    # The pattern keeps Python from computing 1e999999999.
    value = Fraction(text) if _RATE.fullmatch(text) else None
  except (ValueError, ZeroDivisionError):
    value = None
  if value is None:
    raise argparse.ArgumentTypeError(
      f"{text!r} is no frame rate such as 25 or 30000/1001"
    )
  if _RATES.wrong(float(value)) is not None:
    raise argparse.ArgumentTypeError(
      f"{text} frames per second is not {_RATES}"
    )
  return value


def frame_size(text: str) -> tuple[int, int]:
  """Reads `WIDTHxHEIGHT`, in pixels.

  Example:
    >>> frame_size("640x480")
    (640, 480)
  """
  match = re.fullmatch(r"(?a:(\d{1,9})x(\d{1,9}))", text)
  if match is None:
    raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT")
  width, height = int(match[1]), int(match[2])
  for side in (width, height):
    wrong = _SIDE.wrong(side)
    if wrong is not None:
      raise argparse.ArgumentTypeError(f"{text}: {wrong}")
  if width * height > _MOST_PIXELS:
    raise argparse.ArgumentTypeError(
      f"{text}: more than {_MOST_PIXELS} pixels in a frame"
    )
  return width, height


def number_range(bounds: Bounds) -> Callable[[str], tuple[float, float]]:
  """Makes the type of ranges `LOW-HIGH`, or of one number for both.

  Example:
    >>> number_range(Bounds(0, 1))("0.2-0.5")
    (0.2, 0.5)
  """
  parse_one = number(bounds)

  def parse(text: str) -> tuple[float, float]:
    first, _, last = text.partition("-")
    low, high = parse_one(first), parse_one(last or first)
    if low > high:
      raise argparse.ArgumentTypeError(f"{text}: is not ascending")
    return low, high

  return parse


def share_of_tasks(text: str) -> tuple[int, int]:
  """Reads `I/N`: task I, from 0, of N.

  Example:
    >>> share_of_tasks("0/4")
    (0, 4)
  """
  match = re.fullmatch(r"(?a:(\d{1,9})/(\d{1,9}))", text)
  if match is None or int(match[1]) >= int(match[2]):
    raise argparse.ArgumentTypeError(
      f"{text!r} is not I/N with I from 0 to N-1"
    )
  return int(match[1]), int(match[2])


def add_engine_option(parser: argparse.ArgumentParser) -> None:
  """Adds `--engine`: the address of a Ray cluster, or None if not given."""
  parser.add_argument(
    "--engine",
    type=ray_address,
    metavar="ray[:ADDRESS]",
    help="does the work on a Ray cluster, a video at a time for each of its "
    "GPUs or CPUs; without ADDRESS on the one that RAY_ADDRESS names or that "
    "runs here, or else on this machine",
  )


def ray_address(text: str) -> str:
  """Reads `ray`, or `ray:` and the address of a cluster.

  Example:
    >>> ray_address("ray:head:6379")
    'head:6379'
    >>> ray_address("ray")
    ''
  """
  name, separator, address = text.partition(":")
  if name != "ray" or (separator and not address):
    raise argparse.ArgumentTypeError(f"{text!r} is not ray or ray:ADDRESS")
  if "//" in address:
    raise argparse.ArgumentTypeError(
      f"{address} is of Ray's client; give HOST:PORT, on a machine of the "
      "cluster"
    )
  return address
