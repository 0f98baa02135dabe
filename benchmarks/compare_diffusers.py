r"""Our networks and diffusers', side by side in one process.

  python -m benchmarks.compare_diffusers [--dtype bfloat16] [--compile] \
    [--rounds 5] [--case NAME …]

Random weights, the same on both sides. Before anything is timed, our outputs
are compared with those of PyTorch in float32; in bfloat16, PyTorch's are too.
In float32 no factor is rounded, to TF32 or less. PyTorch runs eagerly, and
with `--compile` also compiled (`torch.compile`); the ratio is against the
faster. Rounds alternate between all of them, so that a disturbance hits all;
times are medians. Compilation is timed apart. FLOPs are those of our matrix
products and convolutions, and MFU is their share of the device's dense
bfloat16 peak. On a GPU each side may take half of the memory.
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from diffmvr_jax.config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from diffmvr_jax.models.clip import ClipVision
from diffmvr_jax.models.unet import UNet
from diffmvr_jax.models.vae import Autoencoder
from diffmvr_jax.runtime.cpu_memory import keep_memory
from diffmvr_jax.runtime.device_peaks import peak_tflops
from diffmvr_jax.runtime.flops import traced_flops
from diffmvr_jax.weights import clip_keys, diffusers_keys
from tests.parity.reference import params_of

HEADINGS = (
  *("case", "ours, ms", "diffusers, ms", "compiled, ms", "ratio"),
  *("relative L2", "diffusers'", "our compilation, s", "theirs, s"),
  *("our TFLOP/s", "MFU"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """One comparison; our side returns arrays in our layout.

  Attributes:
    name: of the table's row.
    ours: a function of `arguments`, to be jitted.
    arguments: parameters and inputs.
    module: PyTorch's network, in float32 on its device.
    forward: what PyTorch computes of `inputs` with `module`.
    inputs: PyTorch's inputs.
    chosen: the part of our output that is compared.
    to_ours: brings a tensor of PyTorch's into our layout.
    gradient: PyTorch goes backward too, and gives the gradient of the first
      convolution.
    reuse: our last argument is the last result, whose memory is written over,
      as a train step's donated state is.
  """

  name: str
  ours: Callable[..., Any]
  arguments: tuple[Any, ...]
  module: Any
  forward: Callable[..., torch.Tensor]
  inputs: tuple[torch.Tensor, ...]
  chosen: Callable[[Any], Any] = lambda output: output
  to_ours: Callable[[torch.Tensor], torch.Tensor] = lambda output: output
  gradient: bool = False
  reuse: bool = False

  def theirs(self, forward: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Runs PyTorch's side, with `forward` itself or compiled."""
    if not self.gradient:
      with torch.no_grad():
        return forward(*self.inputs)
    self.module.zero_grad(set_to_none=True)
    forward(*self.inputs).backward()
    return self.module.conv_in.weight.grad


def main() -> None:
  """Runs the cases and prints a Markdown table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument(
    "--dtype", choices=["float32", "bfloat16"], default="float32"
  )
  parser.add_argument("--compile", action="store_true")
  cases = {
    build.__name__: build
    for build in (unet_forward, unet_gradient, vae_encode, vae_decode, clip)
  }
  parser.add_argument("--case", nargs="*", choices=cases, default=list(cases))
  arguments = parser.parse_args()
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  keep_memory()
  torch.backends.cudnn.allow_tf32 = False
  if arguments.dtype == "float32":
    jax.config.update("jax_default_matmul_precision", "highest")
  print(conditions(arguments))
  print(f"\n| {' | '.join(HEADINGS)} |")
  print("|---|" + "---:|" * (len(HEADINGS) - 1))
  apart = []
  for name in arguments.case:
    apart += measure(cases[name](arguments.dtype), arguments)
  if apart:
    raise SystemExit(f"The outputs differ too much: {', '.join(apart)}")


def conditions(arguments: argparse.Namespace) -> str:
  """Device, versions and rounds, in a line."""
  device = jax.devices()[0]
  return (
    f"{device.device_kind}, {torch.get_num_threads()} PyTorch threads, "
    f"{arguments.dtype}; "
    f"jax {jax.__version__}, torch {torch.__version__}, diffusers "
    f"{diffusers.__version__}, transformers {transformers.__version__}; "
    f"{arguments.rounds} alternating rounds, medians"
  )


def device() -> str:
  """PyTorch's name of the kind of device that JAX computes on."""
  return "cpu" if jax.default_backend() == "cpu" else "cuda"


def measure(case: Case, arguments: argparse.Namespace) -> list[str]:
  """Compiles, compares, times, prints the table's row.

  Returns:
    The case's name if our output is too far from PyTorch's, else nothing.
  """
  started = time.perf_counter()
  last = len(case.arguments) - 1
  traced = jax.jit(
    case.ours, donate_argnums=(last,) if case.reuse else (), keep_unused=True
  ).trace(*case.arguments)
  program = traced.lower().compile()
  ours_compiled = time.perf_counter() - started
  given = list(case.arguments)

  def ours() -> Any:
    result = jax.block_until_ready(program(*given))
    if case.reuse:
      given[last] = result
    return result

  def array(theirs: torch.Tensor) -> np.ndarray:
    return case.to_ours(theirs.detach().double().cpu()).numpy()

  reference = array(case.theirs(case.forward))
  distance = relative(np.asarray(case.chosen(ours()), np.float64), reference)
  case = in_dtype(case, getattr(torch, arguments.dtype))
  own = relative(array(case.theirs(case.forward)), reference)
  runs = [ours, lambda: case.theirs(case.forward)]
  theirs_compiled = None
  if arguments.compile:
    compiled = torch.compile(case.forward)
    started = time.perf_counter()
    case.theirs(compiled)
    synchronize()
    theirs_compiled = time.perf_counter() - started
    runs.append(lambda: case.theirs(compiled))
  our_time, *their_times = median_times(runs, arguments.rounds)
  rate = traced_flops(traced, jax.default_backend()) / our_time
  peak = peak_tflops(jax.devices()[0].device_kind)
  rounded = arguments.dtype == "bfloat16"
  cells = (
    case.name,
    f"{1e3 * our_time:.1f}",
    f"{1e3 * their_times[0]:.1f}",
    f"{1e3 * their_times[1]:.1f}" if arguments.compile else "",
    f"{our_time / min(their_times):.2f}",
    f"{distance:.1e}",
    f"{own:.1e}" if rounded else "",
    f"{ours_compiled:.0f}",
    f"{theirs_compiled:.0f}" if theirs_compiled else "",
    f"{rate / 1e12:.2f}",
    f"{rate / peak / 1e10:.0f} %" if peak and rounded else "",
  )
  print(f"| {' | '.join(cells)} |", flush=True)
  return [] if distance < (2 * own if rounded else 1e-3) else [case.name]


def relative(one: np.ndarray, other: np.ndarray) -> float:
  """Relative L2 distance of two outputs."""
  return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def in_dtype(case: Case, dtype: torch.dtype) -> Case:
  """The case with PyTorch's side in `dtype`."""
  case.module.to(dtype)
  inputs = (x.to(dtype) if x.is_floating_point() else x for x in case.inputs)
  return dataclasses.replace(case, inputs=tuple(inputs))


def median_times(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
  """Seconds of each, in alternating rounds after one that does not count."""
  taken: list[list[float]] = [[] for _ in runs]
  for _ in range(rounds + 1):
    for run, times in zip(runs, taken, strict=True):
      started = time.perf_counter()
      run()
      synchronize()
      times.append(time.perf_counter() - started)
  return [statistics.median(times[1:]) for times in taken]


def synchronize() -> None:
  """Waits for PyTorch's device."""
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def build(make: Callable[[], Any]) -> tuple[Any, dict[str, torch.Tensor]]:
  """A module of random weights on its device, and the weights on the CPU."""
  torch.manual_seed(0)
  with torch.device(device()):
    module = make().eval()
  weights = {k: v.cpu().clone() for k, v in module.state_dict().items()}
  return module, weights


def tensor(array: np.ndarray, *, image: bool = False) -> torch.Tensor:
  """An input on PyTorch's device, channels second if it is an image."""
  result = torch.from_numpy(array)
  if image:
    result = result.permute(0, 3, 1, 2).contiguous()
  return result.to(device())


def channels_last(image: torch.Tensor) -> torch.Tensor:
  """An image of PyTorch's in our layout."""
  return image.permute(0, 2, 3, 1)


def normal(*shape: int) -> np.ndarray:
  """Unit noise, the same every time."""
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def unet(size: int, dtype: str) -> tuple[Any, ...]:
  """The inpainting U-Net of SD 1.5, both sides, and inputs for `size` px."""
  module, weights = build(
    lambda: diffusers.UNet2DConditionModel(
      in_channels=9,
      block_out_channels=(320, 640, 1280, 1280),
      cross_attention_dim=768,
      attention_head_dim=8,
    )
  )
  config = UNetConfig(branches=("text",), alpha=(1.0,))
  network = UNet(config, jnp.dtype(dtype))
  sample, text = normal(1, size // 8, size // 8, 9), normal(1, 77, 768)
  inputs = (sample, np.array([500], np.int32), {"text": text})
  valid = {"text": np.ones(1, np.float32)}
  shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs, valid)
  params = params_of(diffusers_keys.unet(shapes["params"]), weights)

  def apply(params: Any, inputs: Any) -> jax.Array:
    return network.apply({"params": params}, *inputs, valid)

  arguments = (params, jax.tree.map(jnp.asarray, inputs))
  time_step = torch.tensor([500], device=device())
  theirs = (tensor(sample, image=True), time_step, tensor(text))
  return module, apply, arguments, theirs


def unet_forward(dtype: str) -> Case:
  """One denoising step at 512 px."""
  module, apply, arguments, inputs = unet(512, dtype)
  return Case(
    name="U-Net forward, 512 px",
    ours=apply,
    arguments=arguments,
    module=module,
    forward=lambda *x: module(*x).sample,
    inputs=inputs,
    to_ours=channels_last,
  )


def unet_gradient(dtype: str) -> Case:
  """Forward and backward, gradients of every parameter, at 256 px."""
  module, apply, arguments, inputs = unet(256, dtype)

  def ours(params: Any, inputs: Any, previous: Any) -> Any:
    del previous  # its memory is what the gradients are written to
    return jax.grad(lambda p: jnp.square(apply(p, inputs)).mean())(params)

  return Case(
    name="U-Net forward and backward, 256 px",
    ours=ours,
    arguments=(*arguments, jax.tree.map(jnp.zeros_like, arguments[0])),
    module=module,
    forward=lambda *x: module(*x).sample.float().square().mean(),
    inputs=inputs,
    chosen=lambda gradients: gradients["conv_in"]["kernel"],
    to_ours=lambda kernel: kernel.permute(2, 3, 1, 0),
    gradient=True,
    reuse=True,
  )


def vae(method: str, inputs: np.ndarray, dtype: str) -> tuple[Any, ...]:
  """SD's autoencoder, both sides, and their inputs."""
  module, weights = build(
    lambda: diffusers.AutoencoderKL(
      block_out_channels=(128, 256, 512, 512),
      down_block_types=["DownEncoderBlock2D"] * 4,
      up_block_types=["UpDecoderBlock2D"] * 4,
      layers_per_block=2,
    )
  )
  network = Autoencoder(AutoencoderConfig(), jnp.dtype(dtype))
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
  )
  params = params_of(diffusers_keys.autoencoder(shapes["params"]), weights)

  def apply(params: Any, inputs: Any) -> Any:
    return network.apply({"params": params}, inputs, method=method)

  arguments = (params, jnp.asarray(inputs))
  return module, apply, arguments, (tensor(inputs, image=True),)


def vae_encode(dtype: str) -> Case:
  """Image to latents at 512 px."""
  image = np.tanh(normal(1, 512, 512, 3))
  module, apply, arguments, inputs = vae("encode", image, dtype)
  return Case(
    name="VAE encode, 512 px",
    ours=lambda *x: apply(*x)[0],
    arguments=arguments,
    module=module,
    forward=lambda x: module.encode(x).latent_dist.mean,
    inputs=inputs,
    to_ours=channels_last,
  )


def vae_decode(dtype: str) -> Case:
  """Latents to image at 512 px."""
  module, apply, arguments, inputs = vae("decode", normal(1, 64, 64, 4), dtype)
  return Case(
    name="VAE decode, 512 px",
    ours=apply,
    arguments=arguments,
    module=module,
    forward=lambda x: module.decode(x).sample,
    inputs=inputs,
    to_ours=channels_last,
  )


def clip(dtype: str) -> Case:
  """Guidance images, one per branch, through CLIP ViT-L/14."""
  module, weights = build(
    lambda: transformers.CLIPVisionModelWithProjection(
      transformers.CLIPVisionConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        patch_size=14,
        projection_dim=768,
      )
    )
  )
  network = ClipVision(ClipVisionConfig(), jnp.dtype(dtype))
  image = normal(2, 224, 224, 3)
  shapes = jax.eval_shape(network.init, jax.random.key(0), image)
  params = params_of(clip_keys.vision(shapes["params"]), weights)
  return Case(
    name="CLIP image encode, 2 images",
    ours=lambda params, x: network.apply({"params": params}, x)[1],
    arguments=(params, jnp.asarray(image)),
    module=module,
    forward=lambda x: module(x).image_embeds,
    inputs=(tensor(image, image=True),),
  )


if __name__ == "__main__":
  main()
