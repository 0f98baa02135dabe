"""Numbers and names that a setting's own type does not allow are refused."""

import dataclasses
import functools
import typing
from typing import Any

from diffmvr_jax.command_line.bounds import Bound
from diffmvr_jax.errors import InputError


def check_bounds(section: Any, prefix: str = "") -> None:
  """Refuses a number or a name that its type does not allow.

  Args:
    section: a dataclass of the configuration.
    prefix: of the keys in the message.

  Raises:
    InputError: names the key.
  """
  bounds = _bounds_by_field(type(section))
  for field in dataclasses.fields(section):
    value, path = getattr(section, field.name), f"{prefix}{field.name}"
    if dataclasses.is_dataclass(value):
      check_bounds(value, f"{path}.")
      continue
    for item in value if isinstance(value, tuple) else (value,):
      for bound in bounds[field.name] if item is not None else ():
        wrong = bound.wrong(item)
        if wrong is not None:
          raise InputError(f"config key {path}: {wrong}")


@functools.cache
def _bounds_by_field(section: type) -> dict[str, list[Bound]]:
  hints = typing.get_type_hints(section, include_extras=True)
  return {name: bounds_of(hint) for name, hint in hints.items()}


def bounds_of(hint: Any) -> list[Bound]:
  """Returns what a field's type says beside the type itself.

  Args:
    hint: a type, `X | None`, or `tuple[X, ...]`, where X may be annotated.

  Example:
    >>> from diffmvr_jax.command_line.bounds import Share
    >>> [str(bound) for bound in bounds_of(tuple[Share, ...])]
    ['at least 0 and at most 1']
  """
  own = [x for x in getattr(hint, "__metadata__", ()) if isinstance(x, Bound)]
  inner = [bounds_of(part) for part in typing.get_args(hint)]
  return sum(inner, own)
