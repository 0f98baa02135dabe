"""Arithmetic of a traced program: its matrix products and convolutions.

XLA's own count takes the body of a loop once, and attention's blocks and the
parts of an accumulated batch are loops.
"""

import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core import JaxprEqn, jaxprs_in_params
from jax.stages import Traced

# The platform that a GPU's programs are lowered for.
_LOWERED = {"gpu": "cuda"}
# JAX's name for what a gradient computes again.
_AGAIN = "rematted_computation"


def traced_flops(
  traced: Traced, platform: str, *, recomputed: bool = False
) -> int:
  """FLOPs on all devices together, a multiplication and an addition being two.

  The body of a loop counts as often as it runs. That number has to be known:
  the body of a `while_loop` counts once. Of the branches of a condition the
  largest counts.

  Args:
    traced: result of `jax.jit(…).trace(…)`.
    platform: platform whose code is counted, such as `tpu`.
    recomputed: whether to count what is computed again for gradients; the
      usual definition of MFU (Chowdhery et al. 2022, PaLM, appendix B) does
      not.

  Example:
    >>> import jax
    >>> matrix = jax.ShapeDtypeStruct((8, 8), "float32")
    >>> traced_flops(jax.jit(lambda x: x @ x).trace(matrix), "cpu")
    1024
  """
  platform = _LOWERED.get(platform, platform)
  return _flops(traced.jaxpr.eqns, platform, recomputed)


def _flops(
  equations: Sequence[JaxprEqn], platform: str, recomputed: bool
) -> int:
  return sum(
    _equation_flops(equation, platform, recomputed)
    for equation in equations
    if recomputed or _AGAIN not in str(equation.source_info.name_stack)
  )


def _equation_flops(equation: JaxprEqn, platform: str, recomputed: bool) -> int:
  params, made = equation.params, math.prod(_shape(equation.outvars[0]))
  match equation.primitive.name:
    case "dot_general":
      (contracted, _), _ = params["dimension_numbers"]
      left = _shape(equation.invars[0])
      return 2 * made * math.prod(left[i] for i in contracted)
    case "conv_general_dilated":
      kernel = _shape(equation.invars[1])
      features = kernel[params["dimension_numbers"].rhs_spec[0]]
      taps = math.prod(kernel) // features
      # Zeros between the inputs are not multiplied.
      return 2 * made * taps // math.prod(params["lhs_dilation"])
    case "dot_product_attention_fwd_wrapper":  # cuDNN's
      return 2 * _attention_product(equation)
    case "dot_product_attention_bwd_wrapper":
      # Two gradients of each product; the scores are computed again.
      return (5 if recomputed else 4) * _attention_product(equation)
  inside = [
    _flops(j.eqns, platform, recomputed) for j in jaxprs_in_params(params)
  ]
  if equation.primitive.name == "cond":
    return _chosen(inside, params.get("branches_platforms"), platform)
  return sum(inside) * params.get("length", 1)


def _attention_product(equation: JaxprEqn) -> int:
  query, key = (_shape(x) for x in equation.invars[:2])
  return 2 * math.prod(query) * key[1]


def _chosen(
  branches: list[int],
  platforms: tuple[tuple[str, ...] | None, ...] | None,
  platform: str,
) -> int:
  for flops, names in zip(branches, platforms or (), strict=False):
    if names is None or platform in names:
      return flops
  return max(branches)


def _shape(variable: Any) -> tuple[int, ...]:
  return getattr(variable.aval, "shape", ())
