"""The interface of a model on disk, of which parts can be read."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from diffmvr_jax.config import Config
from diffmvr_jax.models.diffmvr import Params


@dataclass(frozen=True, kw_only=True)
class StoredModel(ABC):
  """The networks of a model; nothing is read before it is asked for.

  Attributes:
    config: configuration of the run, or the one given at the import.
    step: number of updates applied; 0 if the model was imported.
    digest: SHA-256 of the checkpoint; None if an older version wrote it.
    shapes: shapes of the parameters, by network.
  """

  config: Config
  step: int
  digest: str | None
  shapes: Params

  @abstractmethod
  def load(self, networks: Collection[str] | None = None) -> Params:
    """The named networks, or all of them, as arrays on the first device."""

  @abstractmethod
  def stream(
    self, paths: Sequence[str], chunk_bytes: int = 2**27
  ) -> Iterator[np.ndarray]:
    """Parameters one after another, about `chunk_bytes` in memory at a time.

    Args:
      paths: paths of the parameters, network first, joined by "/".
      chunk_bytes: bytes that are read at once; one parameter may be more.
    """
