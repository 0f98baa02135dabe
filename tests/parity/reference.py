"""PyTorch references with random weights, and those weights as parameters."""

from pathlib import Path

import jax.numpy as jnp
import torch

from diffmvr_jax.weights.assemble import match, nested
from diffmvr_jax.weights.files import Tensor


def randomize(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
  """Moves norms and biases off their trivial initial values."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for parameter in module.parameters():
      if parameter.ndim == 1:
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
  return module.eval().requires_grad_(False)


def params_of(table, state_dict) -> dict:
  """A PyTorch module's weights as our parameters."""
  tensors = {
    name: Tensor(
      file=Path("reference"),
      shape=tuple(value.shape),
      dtype="F32",
      load=value.numpy,
    )
    for name, value in state_dict.items()
    if not name.endswith("position_ids")
  }
  matches = match(table, tensors)
  return nested((m.entry.path, jnp.asarray(m.read())) for m in matches)
