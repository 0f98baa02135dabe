"""The progress line, and the metrics as JSON lines and for TensorBoard."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter

from diffmvr_jax.command_line.terminal import progress_bar
from diffmvr_jax.files import write_atomically, writing
from diffmvr_jax.runtime.device_peaks import peak_tflops


class Progress:
  """Reports on process 0; does nothing on the others.

  Args:
    name: name of the stage.
    start: number of updates applied before this run.
    total: number of updates at the end.
    windows: number of windows per update.
    flops: FLOPs of one update on one device.
    log: log that the metrics are written to.
    every: number of updates between two lines of the log.
  """

  def __init__(
    self,
    name: str,
    *,
    start: int,
    total: int,
    windows: int,
    flops: float,
    log: "MetricLog",
    every: int,
  ):
    self._windows, self._flops, self._every = windows, flops, every
    self._total, self._log = total, log
    self._bar = progress_bar(
      desc=name,
      initial=start,
      total=total,
      unit="step",
      disable=jax.process_index() != 0,
    )
    self.skip_time(start)

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *exception) -> None:
    self._bar.close()

  @contextmanager
  def waiting(self) -> Iterator[None]:
    """Measures how long the devices may have to wait for the next batch."""
    start = time.perf_counter()
    yield
    self._waited += time.perf_counter() - start

  def skip_time(self, step: int) -> None:
    """Leaves the time since the last step out of the speed."""
    self._clock, self._since, self._waited = time.perf_counter(), step, 0.0

  def report(self, step: int, metrics: Mapping[str, float]) -> None:
    """Takes the metrics of the update that led to `step`.

    Raises:
      FloatingPointError: a metric is not finite; names step and metric.
    """
    for name, value in metrics.items():
      if not math.isfinite(value):
        raise FloatingPointError(f"{name} is {value} at step {step}")
    self._bar.update(step - self._bar.n)
    if step % self._every and step != self._total:
      return
    elapsed = max(time.perf_counter() - self._clock, 1e-9)
    rate = (step - self._since) / elapsed
    speed = {"windows/s": rate * self._windows} | self._device_speed(rate)
    speed["data_wait"] = self._waited / elapsed
    self.skip_time(step)
    rounded = {k: f"{v:.4g}" for k, v in (*metrics.items(), *speed.items())}
    self._bar.set_postfix(rounded, refresh=False)
    self._log.write(step, {**metrics, **speed})

  def _device_speed(self, rate: float) -> dict[str, float]:
    tflops = rate * self._flops / 1e12
    highest = peak_tflops(jax.local_devices()[0].device_kind)
    share = {"MFU": tflops / highest} if highest else {}
    return {"TFLOP/s/device": tflops, **share}


class LaterReport:
  """Reports an update's metrics when the next update is on its way.

  So the devices do not wait for the metrics to be read.
  """

  def __init__(self, progress: Progress):
    self._progress = progress
    self._waiting: tuple[int, Mapping[str, Any], np.ndarray] | None = None

  def add(
    self, step: int, metrics: Mapping[str, Any], window_ids: np.ndarray
  ) -> None:
    """Takes the metrics of the update that led to `step`, and its windows.

    Raises:
      FloatingPointError: a metric of the update before is not finite.
    """
    self.flush()
    self._waiting = (step, metrics, window_ids)

  def flush(self) -> None:
    """Reports what is still waiting.

    Raises:
      FloatingPointError: a metric is not finite; names the update's windows.
    """
    if self._waiting is None:
      return
    step, metrics, window_ids = self._waiting
    self._waiting = None
    try:
      self._progress.report(step, {k: float(v) for k, v in metrics.items()})
    except FloatingPointError as error:
      raise FloatingPointError(
        f"{error}; its windows are {window_ids.tolist()}"
      ) from error


class MetricLog:
  """`WORKDIR/NAME.jsonl` and TensorBoard's events of the same name.

  Process 0 writes; the others do nothing. Lines after `start`, which a run that
  was killed left there, are dropped.
  """

  def __init__(self, workdir: Path, name: str, start: int):
    self._name = name
    self._path = workdir / f"{name}.jsonl"
    self._active = jax.process_index() == 0
    if self._active:
      _keep_until(self._path, start)
      with writing(self._path):
        self._file = open(self._path, "a")  # noqa: SIM115 (closed by __exit__)
      self._board = SummaryWriter(
        str(workdir / "tensorboard" / name), purge_step=start + 1
      )

  def __enter__(self) -> "MetricLog":
    return self

  def __exit__(self, *exception) -> None:
    if self._active:
      with writing(self._path):
        self._file.close()
      self._board.close()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes a line, and a point on the curve of each value.

    Raises:
      OSError: the disk does not take it; names the file.
    """
    if self._active:
      with writing(self._path):
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
      for name, value in values.items():
        self._board.add_scalar(name, value, step)

  def write_image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes an (h, w, 3) uint8 image for TensorBoard."""
    if self._active:
      self._board.add_image(name, image, step, dataformats="HWC")

  def read(self) -> list[dict[str, Any]]:
    """All lines; on other processes than the first none."""
    if not self._active:
      return []
    return [json.loads(line) for line in self._path.read_text().splitlines()]


def _keep_until(path: Path, step: int) -> None:
  """Drops the lines after `step`, and one that was cut off."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    try:
      if json.loads(line)["step"] <= step:
        kept.append(line + "\n")
    except ValueError:
      continue
  write_atomically(path, "".join(kept))
