"""DiffMVR in JAX: diffusion-based, reference-guided video restoration."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from diffmvr_jax.inference.restorer import Restorer

__version__ = "0.1.0"
__all__ = ["Restorer", "__version__"]


def __getattr__(name: str) -> Any:
  # Data preparation imports this package too, and needs no JAX.
  if name == "Restorer":
    from diffmvr_jax.inference.restorer import Restorer

    return Restorer
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
