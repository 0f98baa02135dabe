"""Reads PyTorch's weights of the networks, batch normalisation folded in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from diffmvr_jax.errors import InputError
from diffmvr_jax.weights.assemble import Mismatch
from diffmvr_jax.weights.files import Tensor, open_tensors


@dataclass(frozen=True, kw_only=True)
class Layout:
  """How a file names its tensors.

  Attributes:
    convolution: of a layer with normalisation, below the layer's name; the
      normalisation is `bn`.
    eps: of the normalisation; None where the network has none.
  """

  convolution: str = ""
  eps: float | None = None


def read_network(path: Path, shapes: Any, layout: Layout) -> dict[str, Any]:
  """Reads a network.

  Args:
    path: a file of weights.
    shapes: of the parameters, kernels and biases, as `eval_shape` gives them.
    layout: of the file.

  Raises:
    InputError: not readable; tensors are missing or have other shapes, with a
      list of them.
  """
  tensors = open_tensors(path)
  leaves: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(shapes)
  layers = {
    keys[:-1]: leaf for keys, leaf in leaves.items() if "kernel" in keys
  }
  wrong = Mismatch()
  wanted = {
    keys: _names(keys, shape.shape, layout) for keys, shape in layers.items()
  }
  for names in wanted.values():
    for name, shape in names.values():
      if name not in tensors:
        wrong.missing.append(name)
      elif tensors[name].shape != shape:
        found = tensors[name].shape
        wrong.misshapen.append(f"{name}: {found}, expected {shape}")
  if wrong:
    raise InputError(f"{path}: not the weights that are expected\n{wrong}")
  params: dict[tuple[str, ...], np.ndarray] = {}
  for keys, names in wanted.items():
    kernel, bias = _folded(tensors, names, layout.eps)
    params[(*keys, "kernel")], params[(*keys, "bias")] = kernel, bias
  return traverse_util.unflatten_dict(params)


def _names(
  keys: tuple[str, ...], kernel: tuple[int, ...], layout: Layout
) -> dict[str, tuple[str, tuple[int, ...]]]:
  """The tensors of a layer, by what they are: name and shape."""
  *space, inputs, outputs = kernel
  weight = (outputs, inputs, *space)
  # Units are called after their layer, and hold one convolution.
  normalised = keys[-1] == "conv" and layout.eps is not None
  layer = keys[:-1] if keys[-1] == "conv" else keys
  prefix = ".".join(layer).replace("features_", "features.")
  base = f"{prefix}.{layout.convolution}" if layout.convolution else prefix
  names = {"weight": (f"{base}.weight", weight)}
  if not normalised:
    return names | {"bias": (f"{base}.bias", (outputs,))}
  return (
    names
    | {
      part: (f"{prefix}.bn.{part}", (outputs,))
      for part in ("weight_bn", "bias", "running_mean", "running_var")
    }
    | {"weight_bn": (f"{prefix}.bn.weight", (outputs,))}
  )


def _folded(
  tensors: Mapping[str, Tensor],
  names: Mapping[str, tuple[str, tuple[int, ...]]],
  eps: float | None,
) -> tuple[np.ndarray, np.ndarray]:
  values = {
    part: tensors[name].float32().astype(np.float64)
    for part, (name, _) in names.items()
  }
  kernel = np.moveaxis(values["weight"], (0, 1), (-1, -2))
  bias = values["bias"]
  if "running_var" in values:
    assert eps is not None
    scale = values["weight_bn"] / np.sqrt(values["running_var"] + eps)
    kernel, bias = kernel * scale, bias - values["running_mean"] * scale
  return kernel.astype(np.float32), bias.astype(np.float32)


def shapes_of(module: Any, *inputs: tuple[int, ...]) -> Any:
  """Shapes of a network's parameters for inputs of these shapes."""
  arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in inputs]
  return jax.eval_shape(module.init, jax.random.key(0), *arrays)["params"]
