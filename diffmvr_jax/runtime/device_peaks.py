"""The highest arithmetic rates of devices, from their vendors' data sheets."""

# Dense bfloat16 TFLOP/s, by the start of the device kind's name.
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
  """Highest dense bfloat16 rate of a device; None if it is not known.

  Example:
    >>> peak_tflops("NVIDIA H100 80GB HBM3")
    989.0
  """
  for name, tflops in _PEAK_TFLOPS.items():
    if device_kind.startswith(name):
      return tflops
  return None
