"""The one kind of error that is the user's to fix, and how commands end."""

import sys
from collections.abc import Callable


class InputError(Exception):
  """Bad input: one line that names the file or key and what to do.

  Example:
    >>> raise InputError("clip.mp4: no such file")
    Traceback (most recent call last):
    ...
    diffmvr_jax.errors.InputError: clip.mp4: no such file
  """


def run_command(main: Callable[[list[str]], None]) -> None:
  """Runs a command's `main(argv)`; an `InputError` ends it with code 2."""
  try:
    main(sys.argv[1:])
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)
