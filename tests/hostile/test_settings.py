"""Settings of every command that takes some."""

import pytest

from diffmvr_jax import convert, encode, sweep, train
from tests.config.numbers import NUMBERS, outside
from tests.conftest import TINY
from tests.hostile.running import Case, judge

FUSED = "fused.py"
NAMED = """\
from dataclasses import replace
from tests.tiny_config import get_config as tiny
def get_config():
  return replace(tiny(), name={name!r})
"""
SWEEP = """\
from diffmvr_jax.ablation.spec import Sweep, Variant
from tests.tiny_config import get_config as tiny
def get_sweep():
  rows = (Variant(name={name!r}),)
  return Sweep(title="t", base=tiny(), variants=rows, {more})
"""


def config_of(text):
  return lambda folder: (folder / "config.py").write_text(text)


def trained(name, said, *overrides, make=None):
  config = TINY if make is None else "{folder}/config.py"
  arguments = ["--config", config, "--workdir", "{folder}/run", *overrides]
  more = {} if make is None else {"make": make}
  return Case(name, train.main, arguments, said, **more)


def fused(folder):
  (folder / "config.py").write_text(
    "from diffmvr_jax.config import load_config\n"
    "from tests.aligned import anchored\n"
    "from tests.conftest import TINY\n"
    "def get_config():\n"
    "  return anchored(load_config(TINY), 'fused')\n"
  )


# Each number of the configuration, below and above its range.
NUMBERED = [
  trained(
    f"{path}={value}",
    rf"config key {path}: .* is not ",
    f"{path}={value}",
    make=fused,
  )
  for path, hint in NUMBERS.items()
  for value in outside(hint)[:2]
]

# As people write them, whatever the declared range says.
ZEROS = [
  *("checkpoint.every", "log_every", "data.window", "data.image_size"),
  *("diffusion.steps", "autoencoder_stage.batch_size"),
  *("fusion_stage.batch_size", "diffusion_stage.batch_size"),
  *("diffusion_stage.optimizer.accumulate", "mesh.data"),
]
WRITTEN = [
  *(
    trained(f"{key}=0", rf"config key {key}: 0 is not ", f"{key}=0")
    for key in ZEROS
  ),
  trained("window of -1", "data.window: -1 is not", "data.window=-1"),
  trained("size of -64", "image_size: -64 is not", "data.image_size=-64"),
  *(
    trained(f"share of {value}", said, f"diffusion.noise_share={value}")
    for value, said in [
      ("1e999", "inf is not a finite number"),
      ("-1e999", "-inf is not a finite number"),
      ("nan", "noise_share: "),
    ]
  ),
]
OTHERS = [
  trained("no such key", "unknown config key sed", "sed=1"),
  trained("no value", "not of the form key=value", "seed"),
  trained("a word for a number", "expected int, got str", "seed=abc"),
  trained("a fraction for an integer", "expected int", "seed=1.5"),
  trained("a number for a section", "is a section", "model=3"),
  trained("a section for a number", "expected int, got dict", "seed.x=1"),
  trained("a word that is no choice", "is not one of", "model.dtype=int8"),
  trained("a nan in a tuple", "expected tuple", "model.unet.alpha=(nan,)"),
  trained("heads of zero", "heads: 0 is not", "model.unet.heads=(0,2)"),
  trained("norm groups", "norm_groups=7 does", "model.unet.norm_groups=7"),
  trained("patch size", "patch_size: 0 is", "model.clip.patch_size=0"),
  trained("long seed", "config key seed", f"seed={2**64}"),
  trained("negative seed", "config key seed: -1", "seed=-1"),
  trained("too many steps", "is more than diffusion", "sampling.steps=2000"),
  trained("a huge integer", "config key log_every", "log_every=1" + "0" * 400),
  trained("code", "expected int, got str", "seed=__import__('os').getpid()"),
  trained("deep nesting", "expected int", "seed=" + "(" * 60 + ")" * 60),
  trained("very deep nesting", "expected int", "seed=" + "(" * 9999),
  trained("an empty key", "unknown config key", "=1"),
  trained("a key of dots", "unknown config key", "...=1"),
  trained("no records", "no such data folder", "data.path={folder}/nowhere"),
  *(
    trained(
      f"named {name!r}",
      "config key name: .* is not a plain name",
      make=config_of(NAMED.format(name=name)),
    )
    for name in ("../../x", "/x", "", "..", "a/b", "a\nb", "a\\b")
  ),
  trained("syntax", "SyntaxError", make=config_of("def get_config(:")),
  trained("fails", "ZeroDivisionError", make=config_of("1 / 0")),
  trained("exits", "SystemExit", make=config_of("raise SystemExit(0)")),
  trained("no function", "get_config", make=config_of("x = 1")),
  trained("other type", "must return", make=config_of("get_config = dict")),
  trained(
    "not Python",
    "Error",
    make=lambda f: (f / "config.py").write_bytes(b"\xff\xfe\0"),
  ),
  trained(
    "a folder", "no such config", make=lambda f: (f / "config.py").mkdir()
  ),
  trained(
    "nan in the file",
    "nan is not a finite number",
    make=config_of(
      "from dataclasses import replace\n"
      "from tests.tiny_config import get_config as tiny\n"
      "def get_config():\n"
      "  config = tiny()\n"
      "  nan = replace(config.diffusion, noise_share=float('nan'))\n"
      "  return replace(config, diffusion=nan)\n"
    ),
  ),
  Case(
    "encode: window",
    encode.main,
    ["--config", TINY, "--out", "{folder}/out", "data.window=0"],
    "config key data.window: 0",
  ),
  Case(
    "encode: nothing to start from",
    encode.main,
    ["--config", TINY, "--out", "{folder}/out"],
    "init_from=START is needed",
  ),
  Case(
    "encode: batch",
    encode.main,
    ["--config", TINY, "--out", "{folder}/out", "--batch", "0"],
    "--batch: 0 is not at least 1",
  ),
  Case(
    "import: sizes",
    convert.main,
    [
      *("import", "{folder}/w.pt", "--config", TINY, "--out", "{folder}/out"),
      *("--set", "model.unet.layers_per_block=0"),
    ],
    "layers_per_block: 0 is not",
  ),
  Case(
    "sweep: seeds",
    sweep.main,
    ["--config", "{folder}/config.py", "--workdir", "{folder}/run", "seeds=a"],
    "seeds",
    config_of(SWEEP.format(name="a", more="")),
  ),
  *(
    Case(
      f"sweep: {name!r}, {more}",
      sweep.main,
      ["--config", "{folder}/config.py", "--workdir", "{folder}/run"],
      said,
      config_of(SWEEP.format(name=name, more=more)),
    )
    for name, more, said in [
      ("../x", "", "is not a plain name"),
      ("a", "seeds=()", "seeds is empty"),
      ("a", "metrics=()", "metrics is empty"),
      ("a", "splits={}", "splits is empty"),
      ("a", "splits={'../x': 'y'}", "the split '../x' is not a plain name"),
      ("a", "seeds=(0, 0)", "a seed is given twice"),
      ("a", "seeds=(0, 2**70)", "config key seed"),
      ("a", "metrics=('x',)", "no metric x"),
    ]
  ),
]


@pytest.mark.parametrize(
  "case", [*NUMBERED, *WRITTEN, *OTHERS], ids=lambda case: case.name[:60]
)
def test_a_setting_that_cannot_be_used(case, tmp_path):
  judge(case, tmp_path)
