"""Keeps compiled programs on disk, so that the next start finds them."""

import os
from pathlib import Path

import jax

_FOLDER = Path("~/.cache/diffmvr/compiled")
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def keep_programs(folder: Path | None = None) -> None:
  """Makes JAX look for programs on disk before it compiles them.

  If the environment variable `JAX_COMPILATION_CACHE_DIR` is set, it decides.

  Args:
    folder: where the programs are kept; None means `~/.cache/diffmvr/compiled`.
  """
  if _VARIABLE in os.environ:
    return
  where = (folder or _FOLDER).expanduser()
  where.mkdir(parents=True, exist_ok=True)
  jax.config.update("jax_compilation_cache_dir", str(where))
  # Also the small ones: there are dozens of them.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
