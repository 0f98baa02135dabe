import json
import shutil

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffmvr_jax.checkpoints.model import open_model
from diffmvr_jax.config import load_config
from diffmvr_jax.convert import main as convert
from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.weights import diffusers_keys, ldm_keys
from diffmvr_jax.weights.files import open_tensors
from tests.weights.tiny_sd import CONFIG, build_unet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run_import(out, *sources, options=()):
  arguments = [*map(str, sources), "--config", str(CONFIG), "--out", str(out)]
  convert(["import", *arguments, *options])
  return open_model(out)


def leaves(params):
  return {
    jax.tree_util.keystr(path): np.asarray(value)
    for path, value in jax.tree.leaves_with_path(params)
  }


def assert_same(one, other):
  one, other = leaves(one), leaves(other)
  assert one.keys() == other.keys()
  for path in one:
    np.testing.assert_array_equal(one[path], other[path], err_msg=path)


@pytest.fixture(scope="module")
def imported(stable_diffusion, tmp_path_factory):
  out = tmp_path_factory.mktemp("import") / "run"
  return run_import(out, stable_diffusion)


def test_branches_start_as_attn2_and_new_channels_as_zero(
  imported, stable_diffusion
):
  tensors = open_tensors(stable_diffusion / "unet")
  source = {name: tensor.load() for name, tensor in tensors.items()}
  unet = imported.load(["unet"])["unet"]
  kernel = unet["conv_in"]["kernel"]
  assert kernel.shape == (3, 3, 9, 8)
  expected = source["conv_in.weight"].transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(kernel[:, :, :4], expected)
  assert not kernel[:, :, 4:].any()
  block = "down_blocks.0.attentions.0.transformer_blocks.0"
  attn2 = unet["down_blocks_0"]["attentions_0"]["transformer_blocks_0"]["attn2"]
  for projection in ("to_k", "to_v"):
    expected = source[f"{block}.attn2.{projection}.weight"].T
    for branch in ("symmetric", "past"):
      ours = attn2[f"{projection}_{branch}"]["kernel"]
      np.testing.assert_array_equal(ours, expected)


def test_separate_towers_start_from_one_file(stable_diffusion, tmp_path):
  """And an export gives each of them back."""
  options = ("--set", "model.guidance.towers=separate")
  stored = run_import(tmp_path / "run", stable_diffusion, options=options)
  params = stored.load(["clip", "clip_past"])
  assert_same(params["clip"], params["clip_past"])
  convert(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
  convert(["import", str(tmp_path / "out"), "--out", str(tmp_path / "again")])
  assert_same(open_model(tmp_path / "again").load(), stored.load())


def test_networks_that_no_source_has_are_left_out(imported, tmp_path, capsys):
  assert set(imported.shapes) == {
    "unet",
    "autoencoder",
    "clip",
    "scaling_factor",
  }


def test_half_precision_is_widened_exactly(
  stable_diffusion, tmp_path, imported
):
  folder = tmp_path / "fp16"
  for name in ("unet", "vae"):
    tensors = open_tensors(stable_diffusion / name)
    (folder / name).mkdir(parents=True)
    half = {
      k: torch.from_numpy(t.load()).to(torch.float16)
      for k, t in tensors.items()
    }
    path = folder / name / "diffusion_pytorch_model.fp16.safetensors"
    save_file(half, path)
  (folder / "model_index.json").write_text("{}")
  ours = run_import(tmp_path / "run", folder).load()
  full = imported.load(["unet", "autoencoder", "scaling_factor"])
  rounded = jax.tree.map(
    lambda x: np.asarray(x).astype(np.float16).astype(np.float32), full
  )
  rounded["scaling_factor"] = full["scaling_factor"]
  assert_same(ours, rounded)


def ldm_tensors(folder):
  """The same weights under the names of the original code."""
  config = load_config(CONFIG).model
  by_name = {}
  params = open_model(folder).load()
  unet = diffusers_keys.unet(params["unet"])
  vae = diffusers_keys.autoencoder(params["autoencoder"])
  for network, theirs, ours in (
    ("unet", unet, ldm_keys.unet(unet, config.unet.layers_per_block)),
    ("autoencoder", vae, ldm_keys.autoencoder(vae, 2)),
  ):
    for there, here in zip(theirs, ours, strict=True):
      assert there.path == here.path
      value = params[network]
      for key in here.path.split("/"):
        value = value[key]
      by_name[here.name] = torch.from_numpy(here.to_tensor(np.array(value)))
  return {name: value.contiguous() for name, value in by_name.items()}


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_an_ldm_file_gives_the_same_model(imported, tmp_path, suffix):
  tensors = ldm_tensors(imported.folder.parents[2])
  tensors["model_ema.decay"] = torch.tensor(0.9)
  tensors["cond_stage_model.transformer.x.weight"] = torch.zeros(3)
  tensors["alphas_cumprod"] = torch.zeros(1000)
  path = tmp_path / f"model.{suffix}"
  if suffix == "ckpt":
    torch.save({"state_dict": tensors, "global_step": 7}, path)
  else:
    save_file(tensors, path)
  ours = run_import(tmp_path / "run", path).load()
  expected = imported.load(["unet", "autoencoder", "scaling_factor"])
  assert_same(ours, expected)


def test_ldm_names_are_those_that_diffusers_converts(imported):
  """diffusers' own converter is the judge of the original names."""
  from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
  )

  tensors = ldm_tensors(imported.folder.parents[2])
  unet = convert_ldm_unet_checkpoint(
    {k: v for k, v in tensors.items() if "diffusion_model" in k},
    {"layers_per_block": 1, "class_embed_type": None},
  )
  expected = build_unet(9).state_dict()
  assert {k: v.shape for k, v in unet.items()} == {
    k: v.shape for k, v in expected.items()
  }
  vae = convert_ldm_vae_checkpoint(
    {k: v for k, v in tensors.items() if "first_stage" in k},
    {"down_block_types": [1, 2], "up_block_types": [1, 2]},
  )
  table = diffusers_keys.autoencoder(imported.shapes["autoencoder"])
  assert set(vae) == {entry.name for entry in table}


class Harmful:
  def __reduce__(self):
    return (print, ("code from a file ran",))


def test_a_pickle_with_code_is_refused(tmp_path, capsys):
  path = tmp_path / "bad.ckpt"
  torch.save({"state_dict": Harmful()}, path)
  with pytest.raises(InputError, match=r"bad\.ckpt: not readable as plain"):
    run_import(tmp_path / "run", path)
  assert "ran" not in capsys.readouterr().out


def test_every_wrong_key_is_listed_and_nothing_is_written(
  stable_diffusion, tmp_path
):
  tensors = {
    k: torch.from_numpy(t.load())
    for k, t in open_tensors(stable_diffusion / "unet").items()
  }
  del tensors["conv_out.bias"], tensors["time_embedding.linear_1.bias"]
  tensors["surprise.weight"] = torch.zeros(2)
  tensors["conv_norm_out.weight"] = torch.zeros(3)
  path = tmp_path / "unet.safetensors"
  save_file(tensors, path)
  with pytest.raises(InputError) as error:
    run_import(tmp_path / "run", path)
  text = str(error.value)
  for part in (
    "2 missing:",
    "conv_out.bias (4,)",
    "time_embedding.linear_1.bias (32,)",
    "1 unknown:",
    "surprise.weight (2,)",
    "1 misshapen:",
    "conv_norm_out.weight: (3,) in the file, (8,) expected",
  ):
    assert part in text
  assert not (tmp_path / "run").exists()


def test_a_missing_shard_and_a_cut_file_are_one_line(
  stable_diffusion, tmp_path
):
  folder = tmp_path / "unet"
  shutil.copytree(stable_diffusion / "unet", folder)
  shard = sorted(folder.glob("*.safetensors"))[0]
  shard.write_bytes(shard.read_bytes()[:-100])
  with pytest.raises(InputError, match="not a whole safetensors file"):
    run_import(tmp_path / "run", folder)
  shard.unlink()
  with pytest.raises(InputError, match="this shard is missing"):
    run_import(tmp_path / "run", folder)


def test_an_index_of_half_precision_shards_is_found(stable_diffusion, tmp_path):
  folder = tmp_path / "unet"
  shutil.copytree(stable_diffusion / "unet", folder)
  (index,) = folder.glob("*.index.json")
  index.rename(index.with_name(index.name.replace(".json", ".fp16.json")))
  found = open_tensors(folder)
  assert found.keys() == open_tensors(stable_diffusion / "unet").keys()


def test_names_of_older_diffusers_are_read(
  stable_diffusion, tmp_path, imported
):
  new = ("to_q", "to_k", "to_v", "to_out.0")
  names = dict(zip(new, ("query", "key", "value", "proj_attn"), strict=True))
  path = stable_diffusion / "vae" / "diffusion_pytorch_model.safetensors"
  tensors = {}
  for name, value in load_file(path).items():
    for newer, older in names.items():
      name = name.replace(f".{newer}.", f".{older}.")
    tensors[name] = value
  assert any("proj_attn" in name for name in tensors)
  save_file(tensors, tmp_path / "vae.safetensors")
  ours = run_import(tmp_path / "run", tmp_path / "vae.safetensors").load()
  assert_same(ours, imported.load(["autoencoder", "scaling_factor"]))


def test_a_prompt_is_encoded_as_transformers_does(
  stable_diffusion, tiny_data, tmp_path
):
  from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

  folder = tmp_path / "sd"
  shutil.copytree(stable_diffusion, folder)
  words = ["<|startoftext|>", "<|endoftext|>", "h", "i</w>", "hi</w>"]
  (folder / "tokenizer").mkdir(parents=True)
  vocabulary = {word: i for i, word in enumerate(words)}
  (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
  (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\nh i</w>\n")
  tower = CLIPTextModel(
    CLIPTextConfig(
      vocab_size=5,
      hidden_size=24,
      intermediate_size=16,
      num_hidden_layers=2,
      num_attention_heads=2,
      bos_token_id=0,
      eos_token_id=1,
    )
  ).eval()
  tower.save_pretrained(folder / "text_encoder")
  options = (
    "--prompt", "hi", "--set", "model.unet.branches=('text',)",
    "model.unet.alpha=(1.0,)",
  )  # fmt: skip
  stored = run_import(tmp_path / "run", folder, options=options)
  ours = stored.load(["prompts"])["prompts"][0]
  tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer")(
    "hi", padding="max_length", max_length=77, return_tensors="pt"
  ).input_ids
  assert tokens[0, :3].tolist() == [0, 4, 1]
  with torch.no_grad():
    expected = tower(tokens).last_hidden_state[0].numpy()
  np.testing.assert_allclose(ours, expected, atol=1e-5)
  # It restores as it is, without an image encoder.
  restorer = CropRestorer.from_checkpoint(
    tmp_path / "run", ["sampling.steps=1"]
  )
  records = RecordSource(tiny_data, "test")
  _, positions = next(records.videos())
  clip = read_frames(records, list(positions))
  assert (restorer(clip) != clip["frame"]).any()


def test_taesd_files_fill_a_tiny_autoencoder(assets, tmp_path, capsys):
  models = assets / "models"
  settings = (
    "family=tiny block_channels=(64,64,64,64) layers_per_block=3 "
    "latent_channels=32 pooled_blocks=True scaling_factor=1.0"
  )
  options = ["--set", "model.unet.in_channels=65", "model.unet.out_channels=32"]
  options += [f"model.autoencoder.{setting}" for setting in settings.split()]
  stored = run_import(
    tmp_path / "run",
    models / "taef2_encoder.pth",
    models / "taef2_decoder.pth",
    options=options,
  )
  assert set(stored.shapes) == {"autoencoder", "scaling_factor"}
  convert(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out")])
  convert(["import", str(tmp_path / "out"), "--out", str(tmp_path / "again")])
  assert_same(open_model(tmp_path / "again").load(), stored.load())
  with pytest.raises(InputError, match="needs its other half"):
    run_import(tmp_path / "half", models / "taef2_encoder.pth", options=options)


def test_inspect_names_layout_and_tensors(stable_diffusion, assets, capsys):
  convert(["inspect", str(stable_diffusion)])
  output = capsys.readouterr().out
  assert "diffusers U-Net" in output and "CLIP" in output
  assert "conv_in.weight" in output and "8×4×3×3" in output
  convert(["inspect", str(assets / "models" / "taef2_decoder.pth")])
  assert "TAESD decoder" in capsys.readouterr().out
