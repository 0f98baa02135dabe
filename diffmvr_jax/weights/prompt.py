"""The prompt of a text branch, encoded once at import.

A text-guided baseline has one fixed prompt, so the checkpoint holds what the
text tower makes of it, and neither training nor restoration needs the tower.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffmvr_jax.config import ClipTextConfig, checked
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import read_json
from diffmvr_jax.models.clip import ClipText
from diffmvr_jax.weights import clip_keys
from diffmvr_jax.weights.assemble import match, nested, without
from diffmvr_jax.weights.files import open_tensors


def encode_prompt(
  sources: Sequence[Path], prompt: str | None
) -> Float[Array, "n c"]:
  """Runs the text tower of the first source that has one.

  Args:
    sources: folders and files, one of them a diffusers pipeline with
      `tokenizer/` and `text_encoder/`.
    prompt: the text.

  Raises:
    InputError: no prompt, no such folder, or transformers is not installed.
  """
  if prompt is None:
    raise InputError("--prompt: the config's text branch needs one")
  for source in sources:
    if (source / "text_encoder").is_dir() and (source / "tokenizer").is_dir():
      return _encode(source, prompt)
  raise InputError(
    "--prompt: no source is a diffusers folder with text_encoder/ and "
    "tokenizer/"
  )


def _encode(folder: Path, prompt: str) -> jax.Array:
  try:
    from transformers import CLIPTokenizer
  except ImportError as error:
    raise InputError(
      "--prompt: needs transformers (pip install '.[convert]')"
    ) from error
  config = read_text_config(folder / "text_encoder" / "config.json")
  tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
  tokens = tokenizer(
    prompt,
    padding="max_length",
    max_length=config.length,
    truncation=True,
    return_tensors="np",
  )["input_ids"]
  tower = ClipText(config)
  shapes = jax.eval_shape(tower.init, jax.random.key(0), tokens)["params"]
  tensors = without(
    open_tensors(folder / "text_encoder"),
    ("text_model.embeddings.position_ids", "embeddings.position_ids"),
  )
  found = match(clip_keys.text(shapes), tensors)
  params = nested((m.entry.path, jnp.asarray(m.read())) for m in found)
  return jax.jit(tower.apply)({"params": params}, jnp.asarray(tokens))[0]


def read_text_config(path: Path) -> ClipTextConfig:
  """A text tower's sizes from transformers' `config.json`.

  Raises:
    InputError: no such file, a size that is none, or an activation that is not
      known.
  """
  values = read_json(path, "fetch it again")
  activation = values.get("hidden_act", "quick_gelu")
  if activation not in ("quick_gelu", "gelu"):
    raise InputError(f"{path}: hidden_act {activation!r} is not known")
  default = ClipTextConfig()
  return checked(
    ClipTextConfig,
    {
      "vocabulary": values.get("vocab_size", default.vocabulary),
      "length": values.get("max_position_embeddings", default.length),
      "width": values.get("hidden_size", default.width),
      "layers": values.get("num_hidden_layers", default.layers),
      "heads": values.get("num_attention_heads", default.heads),
      "mlp_dim": values.get("intermediate_size", default.mlp_dim),
      "activation": activation,
    },
    f"{path}: ",
  )
