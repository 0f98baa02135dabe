"""The noise schedule that imported weights were trained with.

A U-Net removes noise of the levels that it has learned, so a pipeline's own
schedule comes with its weights, whatever the configuration says; settings that
the user names on the command line count more.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffmvr_jax.config import Config, DiffusionConfig, checked
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import read_json
from diffmvr_jax.weights.files import open_tensors
from diffmvr_jax.weights.layouts import layout_of

_FILE = "scheduler/scheduler_config.json"
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
# Of all single files of Stable Diffusion, which do not say it themselves.
_LDM = {"beta_start": 0.00085, "beta_end": 0.012}


def with_own_schedule(
  config: Config, paths: Sequence[Path], overrides: Sequence[str]
) -> tuple[Config, list[str]]:
  """Takes the schedule of the last source that has one.

  A model with an anchor has a process of its own, and keeps it.

  Args:
    config: configuration of the networks.
    paths: files and folders of weights.
    overrides: what the user set, `key.path=value`.

  Returns:
    The configuration, and a line about what was taken from where.

  Raises:
    InputError: a scheduler's file is damaged, or of an unknown kind.
  """
  if config.diffusion.anchor != "none":
    return config, []
  named = {o.partition("=")[0] for o in overrides}
  for path in reversed(paths):
    own = _schedule_of(path)
    if own:
      taken = {k: v for k, v in own.items() if f"diffusion.{k}" not in named}
      said = ", ".join(f"{key} {value}" for key, value in taken.items())
      changed = replace(config, diffusion=replace(config.diffusion, **taken))
      return changed, [f"noise schedule of {path}: {said}"] if said else []
  return config, []


def _schedule_of(path: Path) -> dict[str, Any]:
  file = path / _FILE
  if not file.is_file():
    if path.is_file() and layout_of(open_tensors(path)) == "LDM":
      return dict(_LDM)
    return {}
  values = read_json(file, "fetch it again")
  try:
    kind = values.get("beta_schedule", "scaled_linear")
    prediction = values.get("prediction_type", "epsilon")
    own: dict[str, Any] = {
      "steps": int(values.get("num_train_timesteps", 1000)),
      "beta_start": float(values["beta_start"]),
      "beta_end": float(values["beta_end"]),
    }
  except (ValueError, KeyError, TypeError, OverflowError) as error:
    raise InputError(
      f"{file}: not a scheduler's configuration ({error!r})"
    ) from error
  if kind != "scaled_linear" or str(prediction) not in _PREDICTIONS:
    raise InputError(
      f"{file}: beta_schedule {kind!r} and prediction_type {prediction!r}; "
      f"known are 'scaled_linear' and {', '.join(map(repr, _PREDICTIONS))}"
    )
  own["prediction"] = _PREDICTIONS[prediction]
  checked(DiffusionConfig, own, f"{file}: ")
  return own
