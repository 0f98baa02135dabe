"""When the memory of a process is kept, and when it is given back.

XLA's CPU backend allocates a program's temporaries anew in every call. glibc
gets blocks of that size from the system and gives them back at once, so every
call's pages are mapped and cleared again: in a training step of gigabytes, a
third of its time.
"""

import ctypes
import platform

import jax

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_memory() -> None:
  """Makes this process keep the memory that it frees, if JAX runs on a CPU.

  Call it before anything else that JAX does except
  `jax.distributed.initialize`. Other backends and other C libraries are left
  as they are. Only the main thread's memory is kept, so programs run on the
  thread that calls them.

  Example:
    >>> keep_memory()
  """
  jax.config.update("jax_cpu_enable_async_dispatch", False)
  if jax.default_backend() == "cpu" and platform.libc_ver()[0] == "glibc":
    library = ctypes.CDLL(None)
    library.mallopt(_M_MMAP_MAX, 0)  # blocks come from the heap
    library.mallopt(_M_TRIM_THRESHOLD, -1)  # which never shrinks


def share_memory() -> None:
  """Makes threads take their memory from two places, not from one each.

  What ended threads have used lies in small pieces beside what is still used.
  A server whose threads come and go would grow for a long time.

  Example:
    >>> share_memory()
  """
  if platform.libc_ver()[0] == "glibc":
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def return_memory() -> None:
  """Gives free memory back to the system, from all threads.

  Example:
    >>> return_memory()
  """
  if platform.libc_ver()[0] == "glibc":
    ctypes.CDLL(None).malloc_trim(0)
