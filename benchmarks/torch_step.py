"""The same update in PyTorch: diffusers' U-Net with twin cross-attention."""

import contextlib
import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from diffmvr_jax.config import Config
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.training.inputs import Batch
from diffmvr_jax.training.objectives import Draws
from diffmvr_jax.weights import diffusers_keys
from tests.parity.reference import params_of


class TwinProcessor(nn.Module):
  """Replaces the processor of an `attn2`; contexts come joined by length."""

  def __init__(self, attention: Any, alpha: tuple[float, ...]):
    super().__init__()
    self.alpha = alpha
    self.to_k_past = nn.Linear(*attention.to_k.weight.shape[::-1], bias=False)
    self.to_v_past = nn.Linear(*attention.to_v.weight.shape[::-1], bias=False)
    self.to_k_past.load_state_dict(attention.to_k.state_dict())
    self.to_v_past.load_state_dict(attention.to_v.state_dict())

  def forward(
    self,
    attn: Any,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    *_: Any,
    **__: Any,
  ) -> torch.Tensor:
    """Σ α_b · attention(queries, context b), projected."""
    symmetric, past = encoder_hidden_states.chunk(2, dim=1)

    def split(x: torch.Tensor) -> torch.Tensor:
      return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

    query = split(attn.to_q(hidden_states))
    first = F.scaled_dot_product_attention(
      query, split(attn.to_k(symmetric)), split(attn.to_v(symmetric))
    )
    second = F.scaled_dot_product_attention(
      query, split(self.to_k_past(past)), split(self.to_v_past(past))
    )
    both = self.alpha[0] * first + self.alpha[1] * second
    return attn.to_out[0](both.transpose(1, 2).flatten(2))


class TorchStep:
  """U-Net, f_mlp, AdamW, clipping, averages; each call is one update.

  Args:
    config: of the run; ε-prediction, CLIP tokens, no guidance dropout.
  """

  def __init__(self, config: Config):
    torch.manual_seed(0)
    self._config = config
    unet, guidance = config.model.unet, config.model.guidance
    self._device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(self._device):  # draws weights there, which takes less
      self._unet: Any = diffusers.UNet2DConditionModel(
        in_channels=unet.in_channels,
        out_channels=unet.out_channels,
        block_out_channels=unet.block_channels,
        layers_per_block=unet.layers_per_block,
        cross_attention_dim=unet.context_dim,
        attention_head_dim=unet.heads,
        norm_num_groups=unet.norm_groups,
      )
      self._f_mlp = nn.Sequential(
        nn.Linear(config.model.clip.width, guidance.hidden_dim),
        nn.GELU(),
        nn.Linear(guidance.hidden_dim, unet.context_dim),
        nn.LayerNorm(unet.context_dim),
      )
      for name, module in self._unet.named_modules():
        if name.endswith("attn2"):
          module.set_processor(TwinProcessor(module, unet.alpha))
    whole = nn.ModuleList([self._unet, self._f_mlp])
    self._parameters = list(whole.parameters())
    self._average = [p.detach().clone() for p in self._parameters]
    optimizer = config.diffusion_stage.optimizer
    self._optimizer = torch.optim.AdamW(
      self._parameters,
      lr=optimizer.learning_rate,
      betas=(optimizer.b1, optimizer.b2),
      eps=optimizer.eps,
      weight_decay=optimizer.weight_decay,
      fused=self._device == "cuda",
    )
    self._alphas = torch.from_numpy(
      np.array(make_schedule(config.diffusion).alphas_cumprod)
    ).to(self._device)
    self._objective = self._loss
    if self._device == "cuda":
      torch.backends.cudnn.benchmark = True
      self._objective = torch.compile(self._loss)
    self._batch: dict[str, torch.Tensor] = {}

  def save(self, folder: Path) -> None:
    """Writes the weights: `unet` and `f_mlp`, as safetensors."""
    unet = {
      name: weight.contiguous()
      for name, weight in self._unet.state_dict().items()
      if ".processor." not in name  # copies, at first
    }
    save_file(unet, folder / "unet.safetensors")
    save_file(self._f_mlp.state_dict(), folder / "f_mlp.safetensors")

  def load(self, batch: Batch) -> None:
    """Takes a batch of encoded windows, our layout."""

    def tensor(x: Any) -> torch.Tensor:
      value = torch.from_numpy(np.array(x, np.float32)).flatten(0, 1)
      value = value.permute(0, 3, 1, 2) if value.ndim == 4 else value
      return value.contiguous().to(self._device)

    self._batch = {
      name: tensor(x) for name, x in batch.items() if np.ndim(x) > 2
    }

  def loss_with(self, draws: Draws) -> float:
    """The loss of the loaded batch with our randomness."""

    def latents(x: Any) -> torch.Tensor:
      value = torch.from_numpy(np.array(x)).flatten(0, 1)
      return value.permute(0, 3, 1, 2).contiguous().to(self._device)

    times = torch.from_numpy(np.array(draws.timesteps)).long()
    with torch.no_grad():
      return float(
        self._loss(
          latents(draws.sample), latents(draws.noise), times.to(self._device)
        )
      )

  def __call__(self) -> None:
    """One update; waits for it."""
    shape = self._batch["mean"].shape
    windows = shape[0] // self._config.data.window
    steps = self._config.diffusion.steps
    self._optimizer.zero_grad(set_to_none=True)
    loss = self._objective(
      torch.randn(shape, device=self._device),
      torch.randn(shape, device=self._device),
      torch.randint(steps, (windows,), device=self._device),
    )
    loss.backward()
    optimizer = self._config.diffusion_stage.optimizer
    nn.utils.clip_grad_norm_(self._parameters, optimizer.clip_norm)
    self._optimizer.step()
    with torch.no_grad():
      share = 1 - optimizer.ema_decay
      torch._foreach_lerp_(self._average, self._parameters, share)
    if self._device == "cuda":
      torch.cuda.synchronize()

  def memory(self) -> int:
    """The most bytes of a GPU's memory that were taken; 0 without a GPU."""
    return torch.cuda.max_memory_allocated() if self._device == "cuda" else 0

  def _loss(
    self, sample: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
  ) -> torch.Tensor:
    """L_diff + λ L_motion on x_0, relative to the target."""
    batch, frames = self._batch, self._config.data.window
    motion = self._config.diffusion_stage.motion
    with torch.autocast(
      self._device, torch.bfloat16, enabled=self._device == "cuda"
    ):
      times = timesteps.repeat_interleave(frames)
      a = self._alphas[times][:, None, None, None]
      clean = batch["mean"] + batch["deviation"] * sample
      noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
      joined = torch.cat([noisy, batch["mask"], batch["masked_latents"]], dim=1)
      context = torch.cat(
        [self._f_mlp(batch[f"{b}.clip"]) for b in ("symmetric", "past")], dim=1
      )
      output = self._unet(joined, times, context).sample.float()
    x0 = (noisy - (1 - a).sqrt() * output) / a.sqrt()
    error = (x0 - clean).unflatten(0, (-1, frames))
    pairs = (error[:, 1:] - error[:, :-1]).square().mean()
    scale = motion.weight * 2 * (frames - 1) / frames
    return (output - noise).square().mean() + scale * pairs


class TorchProcess:
  """A `TorchStep` in a process of its own, as a user of PyTorch runs it.

  Args:
    config: see `TorchStep`, whose methods these are.
  """

  def __init__(self, config: Config):
    self._config = config
    spawning = multiprocessing.get_context("spawn")
    self._pipe, end = spawning.Pipe()
    spawning.Process(target=_serve, args=(config, end), daemon=True).start()
    end.close()  # or a process that dies would be waited for

  def params(self) -> Params:
    """The initial weights as our parameters."""
    with tempfile.TemporaryDirectory() as folder:
      self._ask("save", Path(folder))
      return read_params(Path(folder), self._config)

  def load(self, batch: Batch) -> None:
    """Takes a batch of encoded windows, our layout."""
    self._ask("load", batch)

  def loss_with(self, draws: Draws) -> float:
    """The loss of the loaded batch with our randomness."""
    return self._ask("loss_with", draws)

  def __call__(self) -> None:
    """One update; waits for it."""
    self._ask("__call__")

  def memory(self) -> int:
    """The most bytes of a GPU's memory that were taken; 0 without a GPU."""
    return self._ask("memory")

  def _ask(self, method: str, *arguments: Any) -> Any:
    self._pipe.send((method, arguments))
    return self._pipe.recv()


def read_params(folder: Path, config: Config) -> Params:
  """What `TorchStep.save` wrote, as our parameters."""
  shapes = DiffMVR.of(config).shapes(config.data.image_size)
  unet = load_file(folder / "unet.safetensors")
  f_mlp = load_file(folder / "f_mlp.safetensors")

  def array(name: str) -> jax.Array:
    return jnp.asarray(f_mlp[name].numpy())

  def dense(name: str) -> dict[str, jax.Array]:
    return {"kernel": array(f"{name}.weight").T, "bias": array(f"{name}.bias")}

  return {
    "unet": params_of(diffusers_keys.unet(shapes["unet"]), unet),
    "guidance": {
      "linear_1": dense("0"),
      "linear_2": dense("2"),
      "norm": {"scale": array("3.weight"), "bias": array("3.bias")},
      "null_token": jnp.zeros(config.model.unet.context_dim),
    },
  }


def _serve(config: Config, pipe: Connection) -> None:
  jax.config.update("jax_platforms", "cpu")  # a GPU is PyTorch's here
  step = TorchStep(config)
  with contextlib.suppress(EOFError):  # the asking process has ended
    while True:
      method, arguments = pipe.recv()
      pipe.send(getattr(step, method)(*arguments))
