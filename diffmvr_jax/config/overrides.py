"""Dataclasses from plain values: types checked, unknown keys refused.

The one line that an error gives names the whole key and the nearest valid one.
"""

import ast
import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from diffmvr_jax.errors import InputError

T = TypeVar("T")


def override(config: Any, assignment: str) -> Any:
  """Applies one `key.path=value`; the value is a Python literal or a word.

  Args:
    config: a dataclass of dataclasses.
    assignment: as it stands on the command line.

  Raises:
    InputError: an unknown key or a value of the wrong type.

  Example:
    >>> @dataclasses.dataclass
    ... class Settings:
    ...   steps: int = 1
    >>> override(Settings(), "steps=3").steps
    3
  """
  path, separator, text = assignment.partition("=")
  if not separator:
    raise InputError(f"override {assignment!r} is not of the form key=value")
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = {"true": True, "false": False, "none": None}.get(text.lower(), text)
  nested: Any = value
  for key in reversed(path.split(".")):
    nested = {key: nested}
  merged = _merge(dataclasses.asdict(config), nested)
  return build(type(config), merged)


def _merge(base: Any, update: Any) -> Any:
  if not (isinstance(base, dict) and isinstance(update, dict)):
    return update
  return base | {k: _merge(base.get(k), v) for k, v in update.items()}


def build(cls: type[T], values: Any, prefix: str = "") -> T:
  """Makes a dataclass of nested mappings.

  Args:
    cls: the dataclass.
    values: by field.
    prefix: of the keys in error messages.

  Raises:
    InputError: an unknown key or a value of the wrong type.
  """
  if not isinstance(values, Mapping):
    raise InputError(f"config key {prefix[:-1]}: is a section, not a value")
  hints = _hints(cls)
  for key in values:
    if key not in hints:
      close = difflib.get_close_matches(key, hints, n=1, cutoff=0.4)
      hint = (
        f"did you mean {prefix}{close[0]}?"
        if close
        else (f"valid keys: {', '.join(hints)}")
      )
      shown = key if str(key).isprintable() else repr(key)
      raise InputError(f"unknown config key {prefix}{shown}; {hint}")
  for field in dataclasses.fields(cast(Any, cls)):
    if field.name not in values and not _has_default(field):
      raise InputError(f"config key {prefix}{field.name} is missing")
  return cls(
    **{k: _convert(hints[k], v, f"{prefix}{k}") for k, v in values.items()}
  )


def _has_default(field: dataclasses.Field) -> bool:
  missing = dataclasses.MISSING
  return field.default is not missing or field.default_factory is not missing


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
  return typing.get_type_hints(cls)


def _convert(hint: Any, value: Any, path: str) -> Any:
  if dataclasses.is_dataclass(hint):
    assert isinstance(hint, type)
    return build(hint, value, prefix=f"{path}.")
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if origin is Literal:
    if value is None and "none" in arguments:
      return "none"  # the command line's word
    if value in arguments:
      return value
    raise InputError(
      f"config key {path}: {value!r} is not one of {', '.join(arguments)}"
    )
  if origin in (typing.Union, types.UnionType):
    if value is None and type(None) in arguments:
      return None
    return _convert(arguments[0], value, path)
  if origin is tuple:
    if isinstance(value, (list, tuple)):
      return tuple(_convert(arguments[0], item, path) for item in value)
  elif origin is Mapping:
    if isinstance(value, Mapping):
      return {
        _convert(arguments[0], key, path): _convert(
          arguments[1], item, f"{path}[{key!r}]"
        )
        for key, item in value.items()
      }
  elif hint is float and type(value) is int:
    return float(value)
  elif type(value) is hint:
    return value
  name = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
  raise InputError(
    f"config key {path}: expected {name}, got {type(value).__name__} {value!r}"
  )
