"""The numbers of a configuration, and values that are out of their range."""

import typing
from dataclasses import is_dataclass

from diffmvr_jax.command_line.bounds import Bounds
from diffmvr_jax.config import Config
from diffmvr_jax.config.ranges import bounds_of


def fields_of(section, prefix=""):
  """Every field that is no section, as (path, type)."""
  hints = typing.get_type_hints(section, include_extras=True)
  for name, hint in hints.items():
    parts = (hint, *typing.get_args(hint))
    nested = [p for p in parts if isinstance(p, type) and is_dataclass(p)]
    if nested:
      yield from fields_of(nested[0], f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", hint


def plain_types(hint):
  parts = typing.get_args(hint)
  inner = [kind for part in parts for kind in plain_types(part)]
  return [*inner, hint] if isinstance(hint, type) else inner


NUMBERS = {
  path: hint
  for path, hint in fields_of(Config)
  if {int, float} & set(plain_types(hint))
}


def outside(hint):
  """A value below and one above the bounds, and what is no number."""
  (bounds,) = bounds_of(hint)
  assert isinstance(bounds, Bounds)
  kinds = plain_types(hint)
  beyond = 2 * abs(bounds.high) + 10
  values = [bounds.low - 7, int(beyond) if int in kinds else beyond]
  if float in kinds:
    values += ["1e999", "-1e999"]
  return [f"({v},)" if "tuple" in str(hint) else v for v in values]
