"""A prior of how faces move, and the flow under a mask that follows from it.

Flow is measured where a face is visible. Faces turn, nod, come nearer and
talk, so the visible part of a flow says much about the part under the mask. A
flow between two crops of one face is taken to be

  (1)  f(p) = Σ_j c_j φ_j(p) + e(p),  c_j ~ N(0, λ_j),  e(p) ~ N(0, σ² / u(p))

with components φ_j and variances λ_j learned from true flows, and weights u of
the measured flow, which are 0 under the mask. What is near the mask says most
about what is under it, so with w the trust in the measured flow

  (2)  u = w (β + (1 − β) n),  n ∝ G_n ∗ (1 − w),  max n = 1.

The mean of c, given f, is

  (3)  c = (Φᵀ U Φ + σ² Λ⁻¹)⁻¹ Φᵀ U f.

It is computed on coarse cells first, and then on all of them, with weights that
outliers have lost (Cauchy's),

  (4)  u'(p) = u(p) / (1 + |f(p) − Φ(p) c|² / τ²).

What the components do not explain is carried a little way under the mask:

  (5)  F = Φ c + (G ∗ w (f − Φ c)) / max(G ∗ w, ε).
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from threadpoolctl import ThreadpoolController

from diffmvr_jax.errors import InputError
from diffmvr_jax.files import refuse_special, write_atomically
from diffmvr_jax.pretrained import flow_prior_file

GRID = 32  # cells along each side of the crop
_COMPONENTS = 48
# All lengths are shares of the crop's side.
# σ, of a 32nd of the side squared; it is above the error of flow, since errors
# come in patches.
_SIGMA = 1 / 128
_TAU = 1 / 128  # τ
_COARSER = 2  # side of a coarse cell, in cells of the grid
_FAR = 0.1  # β
_NEAR = 0.1  # standard deviation of G_n
_SPREAD = 0.04  # standard deviation of G
_LEAST = 0.05  # ε
# The variance below which a component is none; it keeps equation (3) regular.
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class FlowPrior:
  """Gaussian prior of the flow between two crops of one face.

  The prior does not depend on the crops' resolution: it is defined over the
  unit square, and its flows are in units of the crop's side.

  Attributes:
    components: (m, g, g, 2) float32, φ_j; the squares of each sum to 1.
    variances: (m,) float32, λ_j.
  """

  components: np.ndarray
  variances: np.ndarray

  @classmethod
  def fit(cls, flows: np.ndarray, components: int = _COMPONENTS) -> "FlowPrior":
    """Fits the prior to true flows, and to the same flows mirrored.

    The mean is taken to be zero, as the flow back is as likely as the flow.

    Args:
      flows: (n, g, g, 2), in units of the crop's side.
      components: how many are kept.
    """
    mirrored = flows[:, :, ::-1] * np.array([-1, 1], flows.dtype)
    both = np.concatenate([flows, mirrored])
    rows = both.reshape(len(both), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    kept = np.argsort(values)[::-1][:components]
    # Both signs of an eigenvector are right; one is chosen.
    signs = np.where(vectors[:, kept].sum(0) < 0, -1, 1)
    return cls(
      components=(vectors[:, kept] * signs)
      .T.reshape(len(kept), *flows.shape[1:])
      .astype(np.float32),
      variances=np.maximum(values[kept], _TINY).astype(np.float32),
    )

  @classmethod
  def load(cls, path: str | Path) -> "FlowPrior":
    """Reads what `save` wrote.

    Raises:
      InputError: the file cannot be read, or it holds something else.
    """
    refuse_special(Path(path))
    try:
      arrays = load_file(path)
      components = arrays["components"].astype(np.float32)
      variances = arrays["variances"].astype(np.float32)
    except (OSError, SafetensorError, TypeError) as error:
      raise InputError(f"{path}: cannot be read ({error})") from error
    except KeyError as error:
      raise InputError(f"{path}: not a prior of flow; no {error}") from error
    if components.ndim != 4 or variances.shape != components.shape[:1]:
      raise InputError(f"{path}: not a prior of flow; its shapes do not agree")
    return cls(components=components, variances=variances)

  def save(self, path: str | Path) -> None:
    """Writes the prior as safetensors, with components in 16 bits."""
    arrays = {
      "components": self.components.astype(np.float16),
      "variances": self.variances.astype(np.float32),
    }
    # `save_file` would let nobody else read the file.
    write_atomically(Path(path), save(arrays))

  def complete(self, flow: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Completes a flow of which a part is known; equations (2) to (5).

    Args:
      flow: (h, w, 2) float32, in pixels.
      weights: (h, w) float32 in [0, 1], w; 0 where the flow is not known.

    Returns:
      (h, w, 2) float32, in pixels. It is smooth everywhere; where the flow is
      known, that is better.
    """
    height, width = weights.shape
    side = np.float32(max(height, width))
    grid = self.components.shape[2:0:-1]
    x, y = cv2.split(flow)
    coarse = cv2.resize(
      cv2.merge([weights * x, weights * y, weights]),
      grid,
      interpolation=cv2.INTER_AREA,
    )
    trust = np.ascontiguousarray(coarse[..., 2])
    known = coarse[..., :2] / np.maximum(trust * side, 1e-6)[..., None]
    with _one_thread():
      mean = self._mean(known, trust)
    left = cv2.merge([trust[..., None] * (known - mean), trust])
    left = cv2.GaussianBlur(left, (0, 0), _SPREAD * grid[0])
    mean += left[..., :2] / np.maximum(left[..., 2:], _LEAST)
    return cv2.resize(mean, (width, height)) * side

  def variance(self, weights: np.ndarray) -> np.ndarray:
    """How far the completed flow may be off.

    This is the trace of Φ(p) (Φᵀ U Φ / σ² + Λ⁻¹)⁻¹ Φ(p)ᵀ, on coarse cells.

    Args:
      weights: (h, w) float32 in [0, 1], w; 0 where the flow is not known.

    Returns:
      (h, w) float32, in squares of pixels.
    """
    height, width = weights.shape
    basis = self._coarse_basis
    grid = self._coarse_grid
    trust = cv2.resize(weights, grid, interpolation=cv2.INTER_AREA)
    with _one_thread():
      inner, _ = self._inner(basis, _evidence(trust).ravel())
      spread = basis @ np.linalg.inv(inner)
    cells = (spread * basis).sum(1).reshape(*trust.shape, 2).sum(-1)
    cells *= _noise(basis) * np.float32(max(height, width)) ** 2
    return cv2.resize(cells, (width, height))

  def _mean(self, flow: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Φ c of equations (3) and (4), (g, g, 2), in units of the side."""
    weights, target = _evidence(trust).ravel(), flow.ravel()
    seen = cv2.merge([trust[..., None] * flow, trust])
    seen = cv2.resize(seen, self._coarse_grid, interpolation=cv2.INTER_AREA)
    coarse = seen[..., :2] / np.maximum(seen[..., 2:], 1e-6)
    evidence = _evidence(np.ascontiguousarray(seen[..., 2])).ravel()
    mean = self._basis @ self._coefficients(
      self._coarse_basis, coarse.ravel(), evidence
    )
    misfit = np.square(mean - target).reshape(-1, 2).sum(1)
    weights /= 1 + misfit / np.float32(_TAU**2)
    mean = self._basis @ self._coefficients(self._basis, target, weights)
    return mean.reshape(flow.shape)

  def _coefficients(
    self, basis: np.ndarray, flow: np.ndarray, weights: np.ndarray
  ) -> np.ndarray:
    """The coefficients c of equation (3), (m,)."""
    inner, weighted = self._inner(basis, weights)
    return np.linalg.solve(inner, flow @ weighted)

  def _inner(
    self, basis: np.ndarray, weights: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Φᵀ U Φ + σ² Λ⁻¹, and U Φ."""
    weighted = basis * np.repeat(weights, 2)[:, None]
    penalty = np.diag(_noise(basis) / self.variances)
    return basis.T @ weighted + penalty, weighted

  @cached_property
  def _basis(self) -> np.ndarray:
    """Φ, (2 g², m) float32."""
    rows = self.components.reshape(len(self.components), -1)
    return np.ascontiguousarray(rows.T)

  @cached_property
  def _coarse_basis(self) -> np.ndarray:
    """The same on coarse cells."""
    coarse = [
      cv2.resize(x, self._coarse_grid, interpolation=cv2.INTER_AREA).ravel()
      for x in self.components
    ]
    return np.ascontiguousarray(np.stack(coarse, axis=1))

  @property
  def _coarse_grid(self) -> tuple[int, int]:
    side = max(1, self.components.shape[1] // _COARSER)
    return side, side


def _noise(basis: np.ndarray) -> np.float32:
  """σ² of a cell; a finer grid's cells say less each."""
  cells = len(basis) / 2
  return np.float32(_SIGMA**2 * cells / 32**2)


def open_flow_prior(name: str) -> FlowPrior | None:
  """Opens a prior by its name.

  Args:
    name: "faces" for the one that comes with the package, "none", or a file.

  Raises:
    InputError: the file cannot be read, or it holds something else.
  """
  if name == "none":
    return None
  return FlowPrior.load(flow_prior_file() if name == "faces" else name)


def _one_thread() -> AbstractContextManager[Any]:
  """Has NumPy's matrix products done by the calling thread alone.

  They are small here. Further threads gain nothing, and go on waiting at full
  load, which takes a third of a live stream's processor time.
  """
  return _threads().limit(limits=1, user_api="blas")


@cache
def _threads() -> ThreadpoolController:
  return ThreadpoolController()


def _evidence(trust: np.ndarray) -> np.ndarray:
  """Equation (2), (g, g) float32."""
  near = cv2.GaussianBlur(1 - trust, (0, 0), _NEAR * trust.shape[1])
  near /= max(float(near.max()), 1e-6)
  return trust * (_FAR + (1 - _FAR) * near)
