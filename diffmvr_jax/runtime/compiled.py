"""How programs are compiled, and kept on disk for the next start."""

import os
from pathlib import Path

import jax

_FOLDER = Path("~/.cache/diffmvr/compiled")
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_THREADS = "--xla_cpu_multi_thread_eigen"


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


def one_thread_per_operation() -> None:
  """Makes XLA split no operation among the cores of a CPU.

  Other stages of a live stream need the cores at the same time, and threads
  that wait for each other's share keep them busy. It counts if it is called
  before the first array is made, and the variable `XLA_FLAGS` decides if it
  says something of this.
  """
  flags = os.environ.get("XLA_FLAGS", "")
  if _THREADS not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {_THREADS}=false".strip()
