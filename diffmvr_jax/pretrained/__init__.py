"""Models that come with the package, as files beside this module.

`NAME.safetensors` is a model that `pretrained:NAME` stands for, and
`faces_flow_prior.safetensors` says how faces move. Neither JAX nor NumPy is
needed to find them. `docs/model_card.md` says what they were made from.
"""

from pathlib import Path

from diffmvr_jax.errors import InputError

DEFAULT = "faces128"
PREFIX = "pretrained:"
FOLDER = Path(__file__).parent
_FLOW_PRIOR = "faces_flow_prior"


def names() -> list[str]:
  """Returns the names of the models that are here."""
  found = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
  return [name for name in found if name != _FLOW_PRIOR]


def model_file(name: str) -> Path:
  """Returns the file of a model.

  Raises:
    InputError: there is none of this name.
  """
  if name not in names():
    there = ", ".join(PREFIX + other for other in names()) or "none"
    raise InputError(f"{PREFIX}{name}: no such model; there is {there}")
  return FOLDER / f"{name}.safetensors"


def flow_prior_file() -> Path:
  """Returns the file of the prior of how faces move.

  Raises:
    InputError: it is not there.
  """
  path = FOLDER / f"{_FLOW_PRIOR}.safetensors"
  if not path.is_file():
    raise InputError(f"{path}: no such file; install DiffMVR-JAX again")
  return path
