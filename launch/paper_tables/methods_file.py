r"""The file that names the methods of a table.

TOML, a section for each method:

  [DiffMVR]
  checkpoint = "runs/sd15_512"       # a workdir, or pretrained:NAME
  set = ["sampling.steps=20"]        # of its sampling; may be left out

  [ProPainter]
  results = "results/{data}/propainter"

  [propagation]
  baseline = "propagation"           # a method of `evaluate` without a model

`results` is a folder of what another program made of the clips, a folder of
pictures or a video for each; {data} stands for the folder of the records. Paths
start from the file's folder.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffmvr_jax import pretrained
from diffmvr_jax.command_line.bounds import FileName
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import refuse_special
from diffmvr_jax.inference.baselines import BASELINES

_KINDS = ("checkpoint", "results", "baseline")


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
  """A method of the file.

  Attributes:
    name: name of its section.
    kind: "checkpoint", "results" or "baseline".
    where: the workdir, the folder with {data} in it, or the baseline's name.
    overrides: settings of its sampling.
  """

  name: str
  kind: str
  where: str
  overrides: tuple[str, ...] = ()


def read_methods(path: Path) -> dict[str, MethodEntry]:
  """Reads the file.

  Raises:
    InputError: there is no such file, or a section says something else.
  """
  refuse_special(path)
  try:
    sections = tomllib.loads(path.read_text("utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    reason = " ".join(str(error).split())
    raise InputError(f"{path}: not readable ({reason})") from error
  if not sections:
    raise InputError(f"{path}: names no method")
  return {name: _entry(path, name, s) for name, s in sections.items()}


def _entry(path: Path, name: str, section: Any) -> MethodEntry:
  if not isinstance(section, Mapping):
    raise InputError(f"{path}: {name} is no section; write [{name}]")
  wrong = FileName().wrong(name)  # scores are kept under it
  if wrong is not None:
    raise InputError(f"{path}: {wrong}")
  kinds = [kind for kind in _KINDS if kind in section]
  unknown = set(section) - {*_KINDS, "set"}
  if len(kinds) != 1 or unknown or not isinstance(section[kinds[0]], str):
    raise InputError(
      f"{path}: [{name}] needs one of {', '.join(_KINDS)} as a text, and "
      "perhaps set"
    )
  (kind,) = kinds
  where, overrides = section[kind], section.get("set", [])
  if not isinstance(overrides, list) or not all(
    isinstance(o, str) for o in overrides
  ):
    raise InputError(f'{path}: [{name}] set = ["sampling.KEY=VALUE", …]')
  if overrides and kind != "checkpoint":
    raise InputError(f"{path}: [{name}] has set, but no checkpoint")
  if kind == "baseline" and where not in BASELINES:
    raise InputError(
      f"{path}: [{name}] baseline {where!r}; there are {', '.join(BASELINES)}"
    )
  if kind == "results":
    _check_braces(path, name, where)
  if kind != "baseline" and not where.startswith(pretrained.PREFIX):
    where = str(path.parent / where)
  return MethodEntry(
    name=name, kind=kind, where=where, overrides=tuple(overrides)
  )


def _check_braces(path: Path, name: str, where: str) -> None:
  try:
    where.format(data="records")
  except (KeyError, ValueError, IndexError, AttributeError) as error:
    raise InputError(
      f"{path}: [{name}] results = {where!r}: of names in braces there is "
      "only {data}"
    ) from error
