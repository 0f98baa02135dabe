"""What a compiled program moves, read off its text.

Between chips: the collectives. Between a GPU and its memory: there every
instruction of the program's sequence is a kernel that reads its operands and
writes its result. XLA counts their bytes only where there is a device.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

_SIZES = {
  **dict.fromkeys(["pred", "s8", "u8", "f8e4m3fn", "f8e5m2"], 1),
  **dict.fromkeys(["bf16", "f16", "s16", "u16"], 2),
  **dict.fromkeys(["f32", "s32", "u32"], 4),
  **dict.fromkeys(["f64", "s64", "u64"], 8),
}
_ARRAY = re.compile(rf"\b({'|'.join(_SIZES)})\[([\d,]*)\]")
# A collective that is started and awaited is counted where it is awaited.
_COLLECTIVE = re.compile(
  r"= (\(.*?\)|\S+) (all-gather|all-reduce|reduce-scatter|all-to-all"
  r"|collective-permute)(?:-done)?\("
)
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(
  r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$"
)
# These only name what others have made.
_NO_KERNELS = {
  "parameter",
  "constant",
  "tuple",
  "get-tuple-element",
  "bitcast",
  "after-all",
  "partition-id",
}
_SLICES = {"slice", "dynamic-slice"}
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(r"(?:calls|body|to_apply)=%([\w.\-]+)")

# Of an instruction: its result's type, its operation, the rest of its line.
_Instructions = dict[str, tuple[str, str, str]]


def type_bytes(text: str) -> int:
  """Bytes of an array's or a tuple's type.

  Example:
    >>> type_bytes("(f32[2,3]{1,0}, bf16[4]{0})")
    32
  """
  return sum(
    _SIZES[kind] * math.prod(int(n) for n in shape.split(",") if n)
    for kind, shape in _ARRAY.findall(text)
  )


def collective_bytes(program: str) -> Counter[str]:
  """Bytes that each kind of collective yields on one chip; loops count once.

  Args:
    program: a compiled program as HLO text.

  Example:
    >>> collective_bytes("%x = f32[2,8]{1,0} all-reduce(%y), channel_id=1")
    Counter({'all-reduce': 64})
  """
  found: Counter[str] = Counter()
  for line in program.splitlines():
    if match := _COLLECTIVE.search(line):
      found[match[2]] += type_bytes(match[1])
  return found


def kernel_bytes(program: str) -> int:
  """Bytes that all kernels together read and write.

  A loop's body counts as often as it runs; of an operand that a kernel only
  takes a slice of, the slice counts. Collectives are left out.

  Args:
    program: a compiled GPU program as HLO text.

  Example:
    >>> kernel_bytes('''
    ... ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %x = f32[4]{0} parameter(0)
    ...   ROOT %y = f32[4]{0} negate(%x)
    ... }''')
    32
  """
  computations: dict[str, _Instructions] = {}
  entry, current = "", {}
  for line in program.splitlines():
    if found := _COMPUTATION.match(line):
      current = computations.setdefault(found[2], {})
      entry = found[2] if found[1] else entry
    elif found := _INSTRUCTION.match(line):
      current[found[1]] = (found[2], found[3], found[4])
  return _sequence_bytes(computations, entry)


def _sequence_bytes(computations: dict[str, _Instructions], name: str) -> int:
  total, sequence = 0, computations[name]
  for made, operation, rest in sequence.values():
    called = _CALLED.search(rest)
    if operation in _NO_KERNELS or operation.endswith(("-start", "-done")):
      continue
    if operation in ("while", "call") and called:
      trips = _TRIPS.search(rest)
      runs = int(trips[1]) if trips else 1
      total += runs * _sequence_bytes(computations, called[1])
    elif operation in _SLICES:
      total += 2 * type_bytes(made)
    else:
      total += type_bytes(made)
      inside = computations.get(called[1], {}) if called else {}
      for i, operand in enumerate(_operands(rest)):
        whole = type_bytes(sequence[operand][0]) if operand in sequence else 0
        total += min(whole, _read(inside, i, whole))
  return total


def _operands(rest: str) -> list[str]:
  return re.findall(r"%([\w.\-]+)", rest.split(")", 1)[0])


def _read(fusion: _Instructions, position: int, whole: int) -> int:
  """Bytes that a fusion reads of its parameter at a position."""
  names = [
    name
    for name, (_, operation, rest) in fusion.items()
    if operation == "parameter" and rest.startswith(f"{position})")
  ]
  if not names:
    return whole
  total = 0
  for made, operation in _uses(fusion, names):
    if operation not in _SLICES:
      return whole
    total += type_bytes(made)
  return total


def _uses(fusion: _Instructions, names: list[str]) -> Iterator[tuple[str, str]]:
  """What is made of arrays, seen through bitcasts."""
  for name, (made, operation, rest) in fusion.items():
    if set(names) & set(_operands(rest)):
      if operation == "bitcast":
        yield from _uses(fusion, [name])
      else:
        yield made, operation
