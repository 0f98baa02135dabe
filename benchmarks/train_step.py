r"""The train step: each option on and off, and PyTorch's step beside ours.

  python -m benchmarks.train_step [--config configs/sd15_512.py] \
    [--rounds 5] [--only options|pytorch] [--option NAME]… [KEY=VALUE …]

Synthetic windows, random weights, one device, steady state. The first table
takes the config as it is and changes one thing at a time: each, or the named
options alone; with
`data.encoded=ANYTHING data.flip=False` it is the step from encoded frames.
The second times an update of the same U-Net and f_mlp from encoded frames
beside PyTorch's: diffusers' U-Net with an attention processor for the twin
branches, AdamW, clipping and the average of the weights, in alternating
rounds; the losses of one batch are compared too. PyTorch runs in a process
of its own, eagerly in float32 on a CPU, and with `torch.compile` under
bfloat16 autocast on a GPU, of which it has half the memory. Its TFLOP/s are of
the FLOPs that ours has.

On a CPU our process keeps its memory (`diffmvr_jax.runtime.cpu_memory`). So
does PyTorch's with MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1000000000000
before the command.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.torch_step import TorchProcess
from diffmvr_jax.checkpoints.fingerprint import is_encoder
from diffmvr_jax.config import Config, load_config, override
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.runtime.cpu_memory import keep_memory
from diffmvr_jax.runtime.device_peaks import peak_tflops
from diffmvr_jax.runtime.flops import traced_flops
from diffmvr_jax.training.assemble import assemble, diffusion_stage
from diffmvr_jax.training.inputs import Batch, Shapes, expected_shapes
from diffmvr_jax.training.objectives import Draws, draw
from diffmvr_jax.training.sharding import make_mesh

# Rows of the first table: what each is called, and what it changes.
OPTIONS = {
  "float32": "model.dtype=float32",
  "remat dots": "model.remat=dots",
  "remat full": "model.remat=full",
  "two parts accumulated": "diffusion_stage.optimizer.accumulate=2",
  "Adafactor": "diffusion_stage.optimizer.kind=adafactor",
}


def main() -> None:
  """Prints the tables in Markdown."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    "--config", type=Path, default=Path("configs/sd15_512.py")
  )
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--only", choices=["options", "pytorch"])
  parser.add_argument(
    "--option",
    action="append",
    help="a row of the first table, such as 'remat full'; else all",
  )
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  arguments = parser.parse_args()
  mesh = ["mesh.data=1", "mesh.fsdp=1", "mesh.frame=1"]
  config = load_config(arguments.config, [*mesh, *arguments.overrides])
  if arguments.only != "options":
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  keep_memory()
  print(conditions(config, arguments.rounds))
  if arguments.only != "pytorch":
    option_table(config, arguments.rounds, arguments.option)
  if arguments.only != "options":
    pytorch_table(config, arguments.rounds)


def conditions(config: Config, rounds: int) -> str:
  """Device, sizes, versions and rounds, in a line."""
  size, window = config.data.image_size, config.data.window
  return (
    f"{jax.devices()[0].device_kind}; {size} px, windows of {window}, batch "
    f"{config.diffusion_stage.batch_size}, U-Net "
    f"{config.model.unet.block_channels}, {config.model.dtype}; jax "
    f"{jax.__version__}, torch {torch.__version__}, diffusers "
    f"{diffusers.__version__}, {torch.get_num_threads()} PyTorch threads; "
    f"median of {rounds} rounds"
  )


def option_table(
  config: Config, rounds: int, chosen: list[str] | None = None
) -> None:
  """One thing at a time."""
  print(
    "\n| step | ms | against the first | windows/s | TFLOP/s | MFU "
    "| memory, GiB | compilation, s |"
  )
  print("|---|---:|---:|---:|---:|---:|---:|---:|")
  encoded = config.data.encoded is not None
  other = "encoders in the step" if encoded else "from encoded frames"
  steps = {"as configured": (config, encoded), other: (config, not encoded)}
  for name, change in OPTIONS.items():
    changed = override(config, change)
    if changed != config:
      steps[name] = (changed, encoded)
  if chosen is not None:
    steps = {n: s for n, s in steps.items() if n in ("as configured", *chosen)}
  first = None
  for name, (changed, from_encoded) in steps.items():
    step = OurStep(changed, encoded=from_encoded)
    seconds = median_time(step, rounds)
    first = first or seconds
    print(
      f"| {name} | {1e3 * seconds:.0f} | {seconds / first:.2f} "
      f"{rates(config, step.flops, seconds)} "
      f"| {step.memory / 2**30:.2f} | {step.compilation:.0f} |",
      flush=True,
    )
    del step


def pytorch_table(config: Config, rounds: int) -> None:
  """The same update by both, in alternating rounds."""
  config = override(config, "model.guidance.dropout=0.0")
  theirs = TorchProcess(config)
  ours = OurStep(config, encoded=True, initial=theirs.params)
  theirs.load(ours.batch)
  expected = theirs.loss_with(ours.first_draws())
  loss = float(ours()["loss"])
  started = time.perf_counter()
  theirs()
  compilation = time.perf_counter() - started
  times: tuple[list[float], list[float]] = ([], [])
  for _ in range(rounds + 1):
    for run, taken in zip((ours, theirs), times, strict=True):
      started = time.perf_counter()
      run()
      taken.append(time.perf_counter() - started)
  mine, other = (statistics.median(taken[1:]) for taken in times)
  print(
    "\n| update from encoded frames | ms | windows/s | TFLOP/s | MFU "
    "| memory, GiB | compilation, s |\n|---|" + "---:|" * 6
  )
  memory = theirs.memory()
  rows = {
    "ours": (mine, ours.memory, ours.compilation),
    "PyTorch": (other, memory, compilation),
  }
  for name, (seconds, needed, compiled) in rows.items():
    print(
      f"| {name} | {1e3 * seconds:.0f} {rates(config, ours.flops, seconds)} "
      f"| {f'{needed / 2**30:.2f}' if needed else ''} | {compiled:.0f} |"
    )
  print(
    f"| ratio | {mine / other:.2f} | | | | | |\n\n"
    f"Loss of the first batch: {loss:.5f} and {expected:.5f}.",
    flush=True,
  )
  tolerance = 1e-4 if jax.default_backend() == "cpu" else 1e-2
  assert abs(loss - expected) < tolerance * expected, (loss, expected)


def rates(config: Config, flops: int, seconds: float) -> str:
  """The cells of a step's windows/s, TFLOP/s and MFU."""
  rate = flops / seconds / 1e12
  highest = peak_tflops(jax.devices()[0].device_kind)
  return (
    f"| {config.diffusion_stage.batch_size / seconds:.2f} | {rate:.2f} "
    f"| {f'{rate / highest:.0%}' if highest else ''}"
  )


class OurStep:
  """A compiled update with its state; each call applies it once.

  Args:
    config: configuration of the run.
    encoded: whether the batch holds encoded frames, not images.
    initial: makes the parameters to start from; None: random ones.
  """

  def __init__(
    self,
    config: Config,
    *,
    encoded: bool,
    initial: Callable[[], Params] | None = None,
  ):
    self._config = config
    stage = diffusion_stage(config, encoded=encoded)
    networks = DiffMVR.of(config).shapes(config.data.image_size)
    if encoded:  # the encoders do not run, and would only take memory
      networks = {
        name: network
        for name, network in networks.items()
        if name in stage.trained or not is_encoder(name)
      }
    shapes = expected_shapes(config, stage.batch_size, encoded=encoded)
    step = assemble(stage, networks, shapes, make_mesh(config.mesh))
    self.batch = synthetic_batch(shapes)
    self._seed = jax.random.key(config.seed)
    # Compiled first: the state then takes the memory that compiling leaves.
    started = time.perf_counter()
    traced = step.trace()
    self._program = traced.lower().compile()
    self.compilation = time.perf_counter() - started
    self._state = step.begin(initial() if initial else random_params(networks))
    self.flops = traced_flops(traced, jax.default_backend())
    sizes = self._program.memory_analysis()
    # The donated state is written over: it is not an output too.
    self.memory = (
      sizes.argument_size_in_bytes
      + sizes.temp_size_in_bytes
      + sizes.output_size_in_bytes
      - sizes.alias_size_in_bytes
    )

  def __call__(self) -> dict[str, jax.Array]:
    """One update; waits for it."""
    self._state, metrics = self._program(self._state, self.batch, self._seed)
    return jax.block_until_ready(metrics)

  def first_draws(self) -> Draws:
    """The randomness of the first update."""
    windows = self._config.diffusion_stage.batch_size
    key = jax.random.fold_in(self._seed, 0)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(windows))
    return draw(self._config, keys, self.batch["mean"].shape[1:], 0.0)


def random_params(shapes: Params) -> Params:
  """Weights of unit gain; the networks' own initialisers compile for long.

  All are cut from the same numbers, since a billion take long to draw.
  """
  noise = np.random.default_rng(0).standard_normal(4_000_037, np.float32)

  def leaf(x: jax.ShapeDtypeStruct) -> jax.Array:
    if len(x.shape) < 2:
      return jnp.ones(x.shape, x.dtype)
    gain = np.float32(np.prod(x.shape[:-1]) ** -0.5)
    return jnp.asarray(gain * np.resize(noise, x.shape))

  return jax.tree.map(leaf, shapes)


def synthetic_batch(shapes: Shapes) -> Batch:
  """Windows of noise; every guidance image exists."""
  rng = np.random.default_rng(0)

  def leaf(x: jax.ShapeDtypeStruct) -> jax.Array:
    if x.dtype == bool:
      return jnp.ones(x.shape, bool)
    if x.dtype == jnp.uint8:  # a mask where it is one
      high = 2 if x.shape[-1] == 1 else 256
      return jnp.asarray(rng.integers(0, high, x.shape, np.uint8))
    return jnp.asarray(rng.standard_normal(x.shape, np.float32), x.dtype)

  return jax.tree.map(leaf, shapes)


def median_time(step: Callable[[], object], rounds: int) -> float:
  """Seconds of a call, after one that does not count."""
  taken = []
  for _ in range(rounds + 1):
    started = time.perf_counter()
    step()
    taken.append(time.perf_counter() - started)
  return statistics.median(taken[1:])


if __name__ == "__main__":
  main()
