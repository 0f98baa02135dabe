"""The one kind of error that is the user's to fix, and how commands end."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable

_ADVICE = {
  errno.ENOSPC: "make room there and run the command again",
  errno.EDQUOT: "make room there and run the command again",
  errno.EFBIG: "the place does not take files so large; choose another one",
  errno.EROFS: "choose a place that can be written",
  errno.EACCES: "choose a place that you may use",
  errno.EPERM: "choose a place that you may use",
  errno.ENOTDIR: "a part of this path is a file, not a folder; choose another",
  errno.EEXIST: "choose another name",
  errno.EISDIR: "it is a folder; name a file",
  errno.ENAMETOOLONG: "choose a shorter name",
}


class InputError(Exception):
  """Bad input: one line that names the file or key and what to do.

  Attributes:
    code: exit code of a command that it ends.

  Example:
    >>> raise InputError("clip.mp4: no such file")
    Traceback (most recent call last):
    ...
    diffmvr_jax.errors.InputError: clip.mp4: no such file
  """

  code = 2


class PartlyDoneError(InputError):
  """Bad input that was noticed late; what could be done is done, and kept."""

  code = 1


def run_command(main: Callable[[list[str]], None]) -> None:
  """Runs a command's `main(argv)`, and ends it in one line if it fails.

  An `InputError`, an error of a disk or of another part of the system, and a
  want of memory end with code 2, or with 1 if a part was done; Ctrl-C ends with
  code 130. If the reader of standard output has gone, as in `… | head`, the
  command ends at once with code 0.
  """
  _make_streams_safe()
  try:
    main(sys.argv[1:])
    if sys.stdout is not None:
      sys.stdout.flush()  # a full disk shows here, not at exit
  except InputError as error:
    _end(f"error: {error}", error.code)
  except BrokenPipeError:
    _drop_output()
    sys.exit(0)
  except OSError as error:
    if error.filename is None:
      _drop_output()
    _end(f"error: {described(error)}", 2)
  except MemoryError as error:
    _end(f"error: not enough memory ({error or 'no size is known'})", 2)
  except KeyboardInterrupt:
    _end("interrupted", 130)


def described(error: OSError) -> str:
  """Says in one line what the system refused, where, and what to do.

  Example:
    >>> described(OSError(errno.EISDIR, "Is a directory", "out"))
    'out: Is a directory; it is a folder; name a file'
  """
  advice = _ADVICE.get(error.errno or 0)
  # Files are named by `diffmvr_jax.files.writing`; only a print has no name.
  unnamed = "standard output: " if advice else ""
  name = error.filename
  place = unnamed if name is None else f"{os.fsdecode(name)}: "
  reason = error.strerror or " ".join(str(error).split())
  return f"{place}{reason}; {advice}" if advice else f"{place}{reason}"


def _end(line: str, code: int) -> None:
  print(line, file=sys.stderr)
  sys.exit(code)


def _make_streams_safe() -> None:
  """Makes any name printable, and standard error present."""
  if sys.stderr is None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open until the end)
  for stream in (sys.stdout, sys.stderr):
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:  # names of files need not be UTF-8
      reconfigure(errors="backslashreplace")


def _drop_output() -> None:
  """Keeps Python from writing at exit what could not be written before."""
  with contextlib.suppress(OSError, ValueError, AttributeError):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
