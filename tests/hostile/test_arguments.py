"""Arguments of every command."""

import pytest

from data_prep.__main__ import main as data_prep
from diffmvr_jax import convert, encode, evaluate, restore, sweep, train
from tests.hostile.running import Case, judge

OUT = ("--out", "{folder}/out.mp4")


def refused(command, main, *arguments, said):
  name = f"{command} {' '.join(map(str, arguments[-2:]))}"
  return Case(name, main, arguments, said)


def restored(*arguments, said):
  return refused(
    "restore", restore.main, "nowhere.mp4", *OUT, *arguments, said=said
  )


def exported(*arguments, said):
  return refused(
    *("export", data_prep, "export", "procedural:0", "--out", "{folder}/out"),
    *arguments,
    said=said,
  )


def annotated(*arguments, said):
  return refused(
    *("annotate", data_prep, "annotate", "nowhere.mp4"),
    *("--out", "{folder}/out", *arguments),
    said=said,
  )


NO_RATE = r"argument --fps: .* (is no frame rate|is not at least)"
RATES = [
  *("1/0", "0", "-1", "-25", "0/1", "1e9", "1e999999999", "nan", "inf"),
  *("0.0001", "100000", "25/", "/25", "2 5", "٢٥", "1_0", "0x10", ""),
  *("1/3/5", "9" * 400, "25fps"),
]
SIZES = [
  *("0x0", "0x8", "8x0", "-8x8", "8", "8x", "x8", "axb", "8X8", "8x8x3"),
  *("99999x99999", "16384x16384", "999999999x1", "²x²", "٨x٨", "8.5x8", " "),
]
NO_NUMBERS = ["-1", "1.5", "nan", "x", "", "²", "٣", "1_0", "9" * 30]
NO_SHARES = ["-0.1", "nan", "inf", "-inf", "1e999", "x", "", "٠.٥"]

CASES = [
  *(restored("--fps=" + rate, said=NO_RATE) for rate in RATES),
  *(restored("--size=" + size, said="argument --size: ") for size in SIZES),
  *(
    restored(f"{option}={value}", said=f"argument {option}: .* is not ")
    for option in ("--samples", "--seed", "--dilate", "--latency")
    for value in NO_NUMBERS
  ),
  restored("--samples=0", said="argument --samples: 0 is not at least 1"),
  *(
    restored(f"--which-face={value}", said="argument --which-face: ")
    for value in (*NO_NUMBERS, "smallest", "LARGEST")
  ),
  *(
    restored(f"--feather={value}", said="argument --feather: ")
    for value in (*NO_SHARES, "1.01")
  ),
  restored("--lookahead=-1", said="argument --lookahead: -1"),
  restored("--method=magic", said="argument --method: invalid choice"),
  restored("--region=sky", said="argument --region: invalid choice"),
  restored("--mask=round", said="argument --mask: invalid choice"),
  restored("--nonsense", said="--nonsense"),
  restored("--fps", said="argument --fps: expected one argument"),
  *(
    restored(f"--engine={value}", said="argument --engine: .* is not ray or")
    for value in ("", "spark", "ray:", "Ray", "ray=x")
  ),
  restored("--engine=ray:ray://x:1", said="argument --engine: ray://x:1 is of"),
  restored("--engine=ray", said="--engine is for several videos"),
  *(
    exported("--engine=ray", option, said="no --workers, no --shard")
    for option in ("--workers=2", "--shard=0/2")
  ),
  restored("seed=1", said="no such file"),
  restored("--checkpoint=x", "--method=propagation", said="leave out"),
  restored("--region=frame", "--occluder=masks:nowhere", said="nowhere"),
  restored("--flow-prior=nowhere", said="no such file"),
  refused("restore", restore.main, said="are required: "),
  refused("restore", restore.main, "clip.mp4", said="are required: --out"),
  refused("restore", restore.main, "-", *OUT, said="need --size"),
  refused("restore", restore.main, "camera:", *OUT, said="expected camera"),
  refused("restore", restore.main, "camera:99", *OUT, said="cannot be read"),
  refused("restore", restore.main, "foo://x", *OUT, said="cannot be read"),
  refused("restore", restore.main, "", *OUT, said="no picture|no such"),
  refused(
    *("restore", restore.main, "x.mp4", "--out", "x.mp4"), said="overwrite"
  ),
  *(
    exported(f"{option}={value}", said=f"argument {option}: .* is not ")
    for option in ("--size", "--workers", "--clips-per-portrait", "--seed")
    for value in NO_NUMBERS
  ),
  *(
    exported(f"{option}=0", said=f"argument {option}: 0 is not at least")
    for option in ("--size", "--workers", "--clips-per-portrait")
  ),
  *(
    exported(f"{option}={value}", said=f"argument {option}: ")
    for option in ("--test-share", "--validation-share")
    for value in (*NO_SHARES, "1")
  ),
  *(
    exported(f"{option}={value}", said=f"argument {option}: ")
    for option in (
      "--occlusion-ratio",
      "--occlusion-seconds",
      "--occlusion-pause",
    )
    for value in ("nan", "nan-nan", "0.1-nan", "3-1", "-1", "1e999", "x", "-")
  ),
  exported("--occlusion-ratio=0", said="0.0 is not above 0"),
  exported("--test-share=.6", "--validation-share=.5", said="not in"),
  *(
    exported(f"--shard={value}", said="argument --shard")
    for value in ("3/2", "2/2", "-1/2", "a/b", "1", "1/0", "/", "²/³")
  ),
  exported("--paste=cat", said="--paste cat: expected"),
  exported("--paste=", said="--paste : expected"),
  exported("--paste=sprites:/nowhere", said="no .png or .webp"),
  exported("--subjects=/nowhere.csv", said="no such file"),
  exported("--flow-prior=/nowhere", said="no such file"),
  exported("/nowhere.mp4", "--seed=1", said="unrecognized|no such file"),
  *(
    refused(
      *("export", data_prep, "export", source, "--out", "{folder}/out"),
      said=said,
    )
    for source, said in [
      ("procedural:0-1000000000", "at most 9 digits"),
      ("procedural:0-999999999", "from 1 to 100000 can be drawn"),
      ("procedural:5-1", "from 1 to 100000 can be drawn"),
      ("procedural:-1", "expected procedural"),
      ("procedural:", "expected procedural"),
      ("procedural:²", "expected procedural"),
      ("procedural:1-", "expected procedural"),
      ("procedural:1.5", "expected procedural"),
      ("portraits:/nowhere", "no such file or folder"),
      ("/nowhere", "no such file"),
    ]
  ),
  *(
    annotated(f"--every={value}", said="argument --every: ")
    for value in ("0", *NO_NUMBERS)
  ),
  *(
    annotated(f"--cluttered={value}", said="argument --cluttered: ")
    for value in NO_SHARES
  ),
  *(
    refused(
      *("train-detector", data_prep, "train-detector", "--data", "x.yaml"),
      f"{option}=0",
      said=f"argument {option}: 0 is not",
    )
    for option in ("--epochs", "--image-size", "--batch")
  ),
  refused(
    *("train-detector", data_prep, "train-detector", "--data", "x.yaml"),
    said="x.yaml: no such file",
  ),
  refused(
    *("score-detector", data_prep, "score-detector", "--data", "/nowhere"),
    said="name what is to be scored",
  ),
  refused("inspect", data_prep, "inspect", "/nowhere", said="no records"),
  refused("data_prep", data_prep, said="required: command"),
  refused("data_prep", data_prep, "expert", said="invalid choice"),
  refused(
    *("fit-flow-prior", data_prep, "fit-flow-prior", "procedural:0"),
    *("--out", "{folder}/out"),
    said="portraits:DIR only",
  ),
  refused("evaluate", evaluate.main, said="give either"),
  *(
    refused("evaluate", evaluate.main, f"--seed={v}", said="argument --seed")
    for v in NO_NUMBERS
  ),
  *(
    refused("evaluate", evaluate.main, f"--model={v}", said="is not NAME=DIR")
    for v in ("x", "=x", "x=", "")
  ),
  refused("evaluate", evaluate.main, "--metrics=", said="no metric ''"),
  refused("evaluate", evaluate.main, "--metrics=x", said="no metric 'x'"),
  refused(
    *("evaluate", evaluate.main, "--prediction", "/nowhere"),
    *("--target", "/nowhere", "--metrics", "psnr"),
    said="no such file",
  ),
  refused(
    *("evaluate", evaluate.main, "--data", "/nowhere"),
    *("--out", "{folder}/out", "--metrics", "psnr"),
    said="no such data folder",
  ),
  refused("train", train.main, said="required: --config, --workdir"),
  refused(
    *("train", train.main, "--config", "/nowhere", "--workdir", "{folder}/x"),
    said="no such config file",
  ),
  refused("encode", encode.main, said="required: --config, --out"),
  refused("sweep", sweep.main, said="required: --config, --workdir"),
  refused("convert", convert.main, said="required: COMMAND"),
  refused("convert", convert.main, "melt", said="invalid choice"),
  refused("convert", convert.main, "inspect", "/nowhere", said="no such file"),
  refused(
    *("convert", convert.main, "export", "/nowhere", "--out", "{folder}/x"),
    said="no trained or imported model",
  ),
  refused(
    *("convert", convert.main, "pretrained", "pretrained:x"),
    *("--out", "{folder}/x.safetensors"),
    said="no such model",
  ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:60])
def test_an_argument_that_cannot_be_used(case, tmp_path):
  judge(case, tmp_path)
