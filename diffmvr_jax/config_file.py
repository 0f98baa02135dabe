"""Config files are Python files with one function that returns the config."""

import importlib.util
from pathlib import Path
from typing import TypeVar

from diffmvr_jax.errors import InputError

T = TypeVar("T")


def call(path: str | Path, function: str, kind: type[T]) -> T:
  """Runs a file and calls its function.

  Args:
    path: of the file.
    function: without arguments.
    kind: of what it must return.

  Raises:
    InputError: no such file, no such function, it fails, or it returns
      something else.
  """
  path = Path(path)
  if not path.is_file():
    raise InputError(f"{path}: no such config file")
  spec = importlib.util.spec_from_file_location("config_file", path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    value = getattr(module, function)()
  except Exception as error:
    raise InputError(f"{path}: {type(error).__name__}: {error}") from error
  if not isinstance(value, kind):
    raise InputError(
      f"{path}: {function}() must return a diffmvr_jax {kind.__name__}"
    )
  return value
