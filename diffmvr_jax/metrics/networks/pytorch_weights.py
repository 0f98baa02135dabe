"""Reads PyTorch's weights of the networks, and folds batch normalisation in.

γ (W ∗ x − μ) / √(σ² + ε) + β  =  (s W) ∗ x + (β − s μ),
s = γ / √(σ² + ε)                                                      (a)
"""

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

# The path of a layer in the parameters.
Layer = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
  """How a file stores a layer.

  Attributes:
    convolution: name of the convolution below the layer's name; empty if the
      layer is the convolution.
    eps: ε of the batch normalisation `bn` that follows each convolution; None
      if the network has none.
  """

  convolution: str = ""
  eps: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
  """A tensor that a file has to hold.

  Attributes:
    name: its name in the file.
    shape: its shape in the file.
  """

  name: str
  shape: tuple[int, ...]


def read_network(path: Path, shapes: Any, layout: Layout) -> dict[str, Any]:
  """Reads the parameters of a network.

  Args:
    path: a file of weights.
    shapes: shapes of kernels and biases, as `shapes_of` gives them.
    layout: how the file stores a layer.

  Raises:
    InputError: the file is not readable, or tensors are missing or have other
      shapes; all of them are listed.
  """
  tensors = open_tensors(path)
  kernels: dict[Layer, tuple[int, ...]] = {
    keys[:-1]: leaf.shape
    for keys, leaf in traverse_util.flatten_dict(shapes).items()
    if keys[-1] == "kernel"
  }
  layers = {
    layer: _tensors_of_layer(layer, kernel, layout)
    for layer, kernel in kernels.items()
  }
  _refuse_other_weights(path, layers, tensors)
  params: dict[tuple[str, ...], np.ndarray] = {}
  for layer, parts in layers.items():
    values = {
      part: tensors[stored.name].float32().astype(np.float64)
      for part, stored in parts.items()
    }
    kernel, bias = _kernel_and_bias(values, layout)
    params[*layer, "kernel"], params[*layer, "bias"] = kernel, bias
  return traverse_util.unflatten_dict(params)


def _tensors_of_layer(
  layer: Layer, kernel: tuple[int, ...], layout: Layout
) -> dict[str, StoredTensor]:
  """What a file holds of a layer: its convolution, and its normalisation.

  Args:
    layer: path of the layer's convolution in the parameters.
    kernel: shape of the convolution's kernel, (…, inputs, outputs).
    layout: how the file stores a layer.

  Returns:
    `weight` and `bias`; if the layer is normalised `weight`, `gamma`, `beta`,
    `mean` and `variance`.
  """
  *size, inputs, outputs = kernel
  # A `ConvRelu` has the layer's name, and holds a convolution named "conv".
  in_conv_relu = layer[-1] == "conv"
  names = layer[:-1] if in_conv_relu else layer
  # PyTorch numbers AlexNet's layers in a list.
  name = ".".join(names).replace("features_", "features.")
  convolution = f"{name}.{layout.convolution}" if layout.convolution else name
  weight = StoredTensor(
    name=f"{convolution}.weight", shape=(outputs, inputs, *size)
  )

  def per_channel(tensor_name: str) -> StoredTensor:
    return StoredTensor(name=tensor_name, shape=(outputs,))

  if not in_conv_relu or layout.eps is None:
    return {"weight": weight, "bias": per_channel(f"{convolution}.bias")}
  return {
    "weight": weight,
    "gamma": per_channel(f"{name}.bn.weight"),
    "beta": per_channel(f"{name}.bn.bias"),
    "mean": per_channel(f"{name}.bn.running_mean"),
    "variance": per_channel(f"{name}.bn.running_var"),
  }


def _refuse_other_weights(
  path: Path,
  layers: Mapping[Layer, Mapping[str, StoredTensor]],
  tensors: Mapping[str, Tensor],
) -> None:
  wrong = Mismatch()
  for expected in (e for parts in layers.values() for e in parts.values()):
    tensor = tensors.get(expected.name)
    if tensor is None:
      wrong.missing.append(expected.name)
    elif tensor.shape != expected.shape:
      wrong.misshapen.append(
        f"{expected.name}: {tensor.shape}, expected {expected.shape}"
      )
  if wrong:
    raise InputError(f"{path}: not the weights that are expected\n{wrong}")


def _kernel_and_bias(
  values: Mapping[str, np.ndarray], layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
  """Formula (a), or the convolution as it is, in our order of axes."""
  kernel = np.moveaxis(values["weight"], (0, 1), (-1, -2))
  if "variance" in values:
    assert layout.eps is not None
    scale = values["gamma"] / np.sqrt(values["variance"] + layout.eps)
    kernel, bias = kernel * scale, values["beta"] - values["mean"] * scale
  else:
    bias = values["bias"]
  return kernel.astype(np.float32), bias.astype(np.float32)


def shapes_of(module: Any, *inputs: tuple[int, ...]) -> Any:
  """Shapes of a network's parameters for inputs of these shapes."""
  arrays = [jax.ShapeDtypeStruct(shape, np.float32) for shape in inputs]
  return jax.eval_shape(module.init, jax.random.key(0), *arrays)["params"]
