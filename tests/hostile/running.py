"""Runs commands on hostile input, in this process, and judges how they end."""

import contextlib
import hashlib
import io
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffmvr_jax.errors import run_command

_LONGEST = 120  # seconds


@dataclass(frozen=True, kw_only=True)
class Ended:
  """How a command ended.

  Attributes:
    code: exit code.
    lines: lines of standard error.
    out: text of standard output.
  """

  code: int
  lines: list[str]
  out: str


@dataclass(frozen=True)
class Case:
  """A hostile input, and how it must end.

  Attributes:
    name: name of the case.
    main: command that is run.
    arguments: arguments, with `{folder}` for the case's own folder.
    said: pattern of what the command says of it.
    make: makes the input in the case's folder.
    code: exit code.
    written: pattern of paths, in the folder, that may appear.
    list: pattern of the beginning of lines that may list all of what is wrong.
  """

  name: str
  main: Callable[[list[str]], None]
  arguments: Sequence[str]
  said: str
  make: Callable[[Path], object] = lambda folder: None
  code: int = 2
  written: str | None = None
  list: str | None = None


def ended(main: Callable, arguments: Sequence[object]) -> Ended:
  """Runs a command as its process would; any other exception is a failure."""
  before = sys.argv
  sys.argv = ["command", *map(str, arguments)]
  out, err = io.StringIO(), io.StringIO()
  code = 0
  try:
    with (
      no_hang(),
      contextlib.redirect_stdout(out),
      contextlib.redirect_stderr(err),
    ):
      run_command(main)
  except SystemExit as stop:
    code = stop.code if isinstance(stop.code, int) else 1
    if isinstance(stop.code, str):
      err.write(stop.code + "\n")
  finally:
    sys.argv = before
  text = err.getvalue().replace("\r", "\n")
  return Ended(
    code=code,
    lines=[line for line in text.splitlines() if line.strip()],
    out=out.getvalue(),
  )


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
  """Ends what takes longer than any case may."""

  def stop(number, frame):
    raise AssertionError(f"still running after {_LONGEST} s")

  before = signal.signal(signal.SIGALRM, stop)
  signal.alarm(_LONGEST)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def content(folder: Path) -> dict[str, str]:
  """What lies below a folder: each path, with a digest of what it holds."""
  found = {}
  for path in sorted(folder.rglob("*")):
    name = str(path.relative_to(folder))
    found[name] = "folder"
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
      found[name] = "special"
    elif path.is_file():
      found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
  return found


def judge(case: Case, folder: Path) -> None:
  """Runs a case in an empty folder, and asserts how it ends."""
  case.make(folder)
  before = content(folder)
  arguments = [str(a).replace("{folder}", str(folder)) for a in case.arguments]
  how = ended(case.main, arguments)
  said = "\n".join(how.lines)
  assert how.code == case.code, f"code {how.code}\n{said}\n{how.out}"
  assert "Traceback" not in said, said
  lines = [n for n in how.lines if not (case.list and re.match(case.list, n))]
  assert lines[-1].startswith("error: "), said
  assert re.search(case.said, said + how.out), said + how.out
  if case.code == 2:
    assert len(lines) == 1, said
  after = content(folder)
  changed = {n for n, was in before.items() if after.get(n) != was}
  assert not changed, changed
  appeared = sorted(after.keys() - before.keys())
  allowed = re.compile(case.written) if case.written else None
  left = [n for n in appeared if not (allowed and allowed.fullmatch(n))]
  assert not left, left
