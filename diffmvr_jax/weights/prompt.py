"""The prompts of a text branch, encoded once at import.

A text-guided baseline has one fixed prompt, so the checkpoint holds what the
text tower makes of it, and neither training nor restoration needs the tower,
unless it is to be trained: then the checkpoint holds it, and the prompts'
words.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from diffmvr_jax.config import ClipTextConfig, checked
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import read_json
from diffmvr_jax.models.clip import ClipText
from diffmvr_jax.models.diffmvr import Params
from diffmvr_jax.weights import clip_keys
from diffmvr_jax.weights.assemble import match, nested, without
from diffmvr_jax.weights.files import open_tensors

_UNUSED = (
  "text_model.embeddings.position_ids",
  "embeddings.position_ids",
  "text_projection",
)


def encode_prompts(
  sources: Sequence[Path],
  prompt: str | None,
  class_prompt: str,
  tower: ClipTextConfig | None,
) -> Params:
  """Encodes the three of `PROMPTS` with the first text tower that is found.

  The empty prompt is what classifier-free guidance compares with.

  Args:
    sources: folders and files, one of them a diffusers pipeline with
      `tokenizer/` and `text_encoder/`.
    prompt: the text.
    class_prompt: the text for images that show the class alone.
    tower: the tower's sizes if the model holds it.

  Returns:
    `prompts`; or `text_encoder` and `prompt_tokens` if the model holds the
    tower.

  Raises:
    InputError: no prompt, no such folder, another tower, or transformers is
      not installed.
  """
  if prompt is None:
    raise InputError("--prompt: the config's text branch needs one")
  for source in sources:
    if (source / "text_encoder").is_dir() and (source / "tokenizer").is_dir():
      return _encode(source, [prompt, "", class_prompt], tower)
  raise InputError(
    "--prompt: no source is a diffusers folder with text_encoder/ and "
    "tokenizer/"
  )


def _encode(
  folder: Path, prompts: Sequence[str], held: ClipTextConfig | None
) -> Params:
  config = read_text_config(folder / "text_encoder" / "config.json")
  if held is not None and held != config:
    raise InputError(
      f"{folder / 'text_encoder'}: is {config}, and model.text is {held}"
    )
  tokens = _tokens(folder / "tokenizer", prompts, config.length)
  tower = ClipText(config)
  shapes = jax.eval_shape(tower.init, jax.random.key(0), tokens)["params"]
  tensors = without(open_tensors(folder / "text_encoder"), _UNUSED)
  found = match(clip_keys.text(shapes), tensors)
  params = nested((m.entry.path, jnp.asarray(m.read())) for m in found)
  if held is not None:
    return {"text_encoder": params, "prompt_tokens": tokens}
  return {"prompts": jax.jit(tower.apply)({"params": params}, tokens)}


def _tokens(
  folder: Path, prompts: Sequence[str], length: int
) -> Int[Array, "n k"]:
  try:
    from transformers import CLIPTokenizer
  except ImportError as error:
    raise InputError(
      "--prompt: needs transformers (pip install '.[convert]')"
    ) from error
  tokens = CLIPTokenizer.from_pretrained(folder)(
    list(prompts),
    padding="max_length",
    max_length=length,
    truncation=True,
    return_tensors="np",
  )["input_ids"]
  return jnp.asarray(tokens, jnp.int32)


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
