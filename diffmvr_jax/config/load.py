"""Config files, overrides, and configs as JSON.

A config file is a Python file with `get_config() -> Config`. Any field can be
overridden on the command line by its dotted path, `diffusion_stage.steps=500`.
"""

import dataclasses
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from diffmvr_jax.config.overrides import build, override
from diffmvr_jax.config.ranges import check_bounds
from diffmvr_jax.config.rules import check
from diffmvr_jax.config.schema import Config
from diffmvr_jax.errors import InputError

T = TypeVar("T")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
  """Runs the file's `get_config()` and applies `key.path=value` overrides.

  Raises:
    InputError: no such file, no `get_config`, an unknown key (the nearest
      valid one is named), a value of the wrong type, inconsistent settings.

  Example:
    >>> load_config("configs/demo.py", ["seed=3"]).seed
    3
  """
  config = call(path, "get_config", Config)
  return completed(config, overrides)


def completed(config: Config, overrides: Sequence[str] = ()) -> Config:
  """Applies overrides to a config, and checks types and rules of the whole.

  Args:
    config: may hold values of a wrong type, which Python does not refuse.
    overrides: `key.path=value` each.

  Raises:
    InputError: as `load_config`.

  Example:
    >>> completed(Config(name="a"), ["data.window=4"]).data.window
    4
  """
  for assignment in overrides:
    config = override(config, assignment)
  config = from_dict(dataclasses.asdict(config))
  check(config)
  return config


def to_json(config: Config) -> str:
  """The config as JSON, as checkpoints store it."""
  return json.dumps(dataclasses.asdict(config), indent=2)


def from_dict(values: Mapping[str, Any]) -> Config:
  """Rebuilds a config from `dataclasses.asdict` or parsed JSON.

  Raises:
    InputError: an unknown key or a value of the wrong type.
  """
  return build(Config, values)


def checked(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
  """Builds one section, and checks its types and bounds.

  Args:
    kind: a dataclass of the configuration.
    values: by field.
    prefix: of the keys in the message.

  Raises:
    InputError: names the key.
  """
  section = build(kind, values, prefix)
  check_bounds(section, prefix)
  return section


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
  except (Exception, SystemExit) as error:
    reason = " ".join(str(error).split())
    raise InputError(f"{path}: {type(error).__name__}: {reason}") from error
  if not isinstance(value, kind):
    raise InputError(
      f"{path}: {function}() must return a diffmvr_jax {kind.__name__}"
    )
  return value
