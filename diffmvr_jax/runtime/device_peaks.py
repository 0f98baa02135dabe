"""What devices can do at most, from their vendors' data sheets."""

# Dense bfloat16 TFLOP/s by how the name of the device kind starts.
_PEAK_TFLOPS = {
  "TPU v4": 275.0,
  "TPU v5 lite": 197.0,
  "TPU v5p": 459.0,
  "TPU v6 lite": 918.0,
  "NVIDIA A100": 312.0,
  "NVIDIA H100": 989.0,
  "NVIDIA H200": 989.0,
}


def peak_tflops(device_kind: str) -> float | None:
  """Dense bfloat16 peak of one device; None: it is not known.

  Example:
    >>> peak_tflops("NVIDIA H100 80GB HBM3")
    989.0
  """
  for name, peak in _PEAK_TFLOPS.items():
    if device_kind.startswith(name):
      return peak
  return None
