"""What `evaluate`, `sweep` and `encode` are given, and where they write."""

import json

import jax
import pytest

from diffmvr_jax import encode, evaluate, sweep
from diffmvr_jax.ablation.run import _read_scores
from diffmvr_jax.config import load_config, to_json
from diffmvr_jax.errors import InputError
from tests.conftest import TINY
from tests.hostile import made
from tests.hostile.made import fifo, file, making
from tests.hostile.running import Case, content, ended, judge
from tests.hostile.test_disks import limited, one_line
from tests.hostile.test_records import data_set
from tests.hostile.test_settings import SWEEP, config_of

A_FILE = file("file", "x")
RECORDS = ("--data", "{folder}/data", "--split", "train", "--metrics", "psnr")
NO_PLACE = "a part of this path is a file"


def measured(*arguments, said, make=lambda folder: None):
  return Case(
    f"evaluate {' '.join(arguments[-2:])}",
    evaluate.main,
    [*RECORDS, "--out", "{folder}/out", *arguments],
    said,
    making(data_set, A_FILE, make),
  )


def compared(prediction, target, *arguments, said, make=lambda folder: None):
  pair = ("--prediction", "{folder}/" + prediction)
  pair += ("--target", "{folder}/" + target, "--metrics", "psnr")
  return Case(
    f"evaluate {prediction} {target} {' '.join(arguments)}",
    evaluate.main,
    [*pair, *arguments],
    said,
    making(made.plain, A_FILE, make),
  )


def swept(*overrides, said, text=None, workdir="{folder}/run", more=()):
  text = SWEEP.format(name="a", more="") if text is None else text
  arguments = ["--config", "{folder}/config.py", "--workdir", workdir]
  return Case(
    f"sweep {' '.join([*more, *overrides])} {said}",
    sweep.main,
    [*arguments, *more, *overrides],
    said,
    making(A_FILE, data_set, config_of(text)),
  )


def encoded(*arguments, said):
  return Case(
    f"encode {' '.join(arguments[-2:])}",
    encode.main,
    ["--config", TINY, *arguments, "data.path={folder}/data"],
    said,
    making(A_FILE, data_set),
  )


def variant(more):
  text = SWEEP.replace("Variant(name={name!r})", f"Variant(name='a', {more})")
  return text.replace("{more}", "")


def external(*steps):
  """A folder of what another method made."""
  return making(lambda folder: (folder / "ext").mkdir(), *steps)


OTHERS = "--external=other={folder}/ext"
CASES = [
  *(
    measured("--out", place, said=NO_PLACE)
    for place in ("{folder}/file", "{folder}/file/x")
  ),
  *(
    measured("--split", split, said="no .*records here")
    for split in ("", "test", "../x", "/", "*", "x" * 300)
  ),
  *(
    measured("--data", data, said="no such data folder|no train records")
    for data in ("{folder}/file", "{folder}", "/nowhere", "/dev/null")
  ),
  *(
    measured("--checkpoint", where, said=said)
    for where, said in [
      ("/nowhere", "no trained or imported model"),
      ("{folder}", "no trained or imported model"),
      ("{folder}/file", "no trained or imported model"),
      ("{folder}/file.safetensors", "no such file"),
      ("pretrained:", "no such model"),
      ("pretrained:../x", "no such model"),
    ]
  ),
  measured("--model=Telea={folder}", said="is called 'Telea' already"),
  measured(
    *("--model=x={folder}", "--external=x={folder}"),
    said="is called 'x' already",
  ),
  measured("--model=x=/nowhere", said="no trained or imported model"),
  measured("--external=x=/nowhere", said="/nowhere/clip: no such video"),
  measured("--external=x={folder}/file", said="file/clip: no such video"),
  measured(OTHERS, said="no video, and no picture", make=external()),
  measured(
    OTHERS,
    said="clip.mp4: not a video",
    make=external(file("ext/clip.mp4", "no video")),
  ),
  measured(
    OTHERS,
    said="no picture in this folder",
    make=external(lambda folder: (folder / "ext" / "clip").mkdir()),
  ),
  measured(
    OTHERS,
    said="0.png: not a picture",
    make=external(file("ext/clip/0.png", "no picture")),
  ),
  measured(
    OTHERS,
    said="clip.mkv: a pipe",
    make=external(lambda folder: fifo(folder / "ext" / "clip.mkv")),
  ),
  measured(
    OTHERS,
    said="frames × height × width, the clip has",
    make=external(lambda folder: made.clip(folder / "ext" / "clip.mkv")),
  ),
  measured(
    OTHERS,
    said="no such video",
    make=external(
      file("ext/PROTOCOL.txt", b"\xff"), file("ext/other.mp4", "x")
    ),
  ),
  *(
    measured("--metrics", "fid", "--weights", where, said="no such folder")
    for where in ("/nowhere", "{folder}/file")
  ),
  *(
    compared(first, second, said=said)
    for first, second, said in [
      ("nowhere", "clip.mkv", "nowhere: no such file"),
      ("clip.mkv", "nowhere", "nowhere: no such file"),
      ("file", "clip.mkv", "file: not a video"),
      ("clip.mkv", "file", "file: not a video"),
      ("mask.png", "clip.mkv", "ends after 1 frames|mask.png: "),
    ]
  ),
  compared(
    *("pipe", "clip.mkv"),
    said="pipe: a pipe or device",
    make=lambda folder: fifo(folder / "pipe"),
  ),
  compared(
    *("short.mkv", "clip.mkv"),
    said="short.mkv: ends after 2 frames",
    make=lambda folder: made.clip(folder / "short.mkv", count=2),
  ),
  compared(
    *("clip.mkv", "short.mkv"),
    said="clip.mkv: has more frames",
    make=lambda folder: made.clip(folder / "short.mkv", count=2),
  ),
  compared(
    *("empty", "empty"),
    said="no video, and no picture",
    make=lambda folder: (folder / "empty").mkdir(),
  ),
  compared(
    *("clip.mkv", "clip.mkv", "--mask", "{folder}/nowhere"),
    said="nowhere: no such file",
  ),
  compared(
    *("clip.mkv", "clip.mkv", "--mask", "{folder}/file"),
    said="file: not a video",
  ),
  *(
    compared("clip.mkv", "clip.mkv", "--out", place, said=NO_PLACE)
    for place in ("{folder}/file", "{folder}/file/x")
  ),
  compared(
    *("clip.mkv", "clip.mkv", "--metrics", "fid", "--weights", "/nowhere"),
    said="/nowhere: no such folder",
  ),
  *(
    swept(f"seeds={seeds}", said=said)
    for seeds, said in [
      ("", "give numbers"),
      ("a", "give numbers"),
      ("٣", "give numbers"),
      ("1_0", "give numbers"),
      ("-1", "give numbers"),
      ("1.5", "give numbers"),
      ("9" * 30, "give numbers"),
      ("0,0", "a seed is given twice"),
    ]
  ),
  *(
    swept(text=variant(more), said=said)
    for more, said in [
      ("checkpoint='x{y}'", r"in braces there is only \{seed\}"),
      ("checkpoint='x{'", r"in braces there is only \{seed\}"),
      ("checkpoint='{0}'", r"in braces there is only \{seed\}"),
      ("checkpoint='x', overrides=('seed=1',)", "cannot change a finished"),
      ("overrides=('sed=1',)", "unknown config key sed"),
      ("overrides=('data.window=0',)", "config key data.window: 0"),
      ("overrides=7", "config.py: .*overrides|expected tuple"),
      ("seeds=('z',)", "config.py: .*|expected int"),
      ("paper={'psnr': 'x'}", "config.py: .*|expected float"),
    ]
  ),
  swept("data.path=/nowhere", said="no such data folder|data.path"),
  *(
    swept(workdir=place, said=NO_PLACE)
    for place in ("{folder}/file", "{folder}/file/x")
  ),
  swept(more=("--weights", "/nowhere"), said="/nowhere: no such folder"),
  *(
    encoded("--out", "{folder}/out", setting, said=said)
    for setting, said in [
      ("init_from=/nowhere", "no trained or imported model"),
      ("init_from={folder}", "no trained or imported model"),
      ("init_from={folder}/file", "no trained or imported model"),
      ("init_from=pretrained:x", "no such model"),
      ("init_from=pretrained:faces128", "has no "),
      ("seed", "not of the form key=value"),
      ("=1", "unknown config key"),
    ]
  ),
  *(
    encoded("--out", "{folder}/out", f"--batch={n}", said="argument --batch")
    for n in ("0", "-1", "nan", "1.5", "٣", "65537", "")
  ),
]


@pytest.fixture(autouse=True)
def compiled():
  """Keeps the place of compiled programs, which a sweep changes."""
  before = jax.config.jax_compilation_cache_dir
  yield
  jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:70])
def test_what_cannot_be_used(case, tmp_path):
  judge(case, tmp_path)


def test_sweeps_of_wrong_types_are_refused_where_no_test_watches(tmp_path):
  """`build` itself, as in tests the dataclasses refuse them first."""
  from diffmvr_jax.ablation.spec import Sweep
  from diffmvr_jax.config.overrides import build

  base = json.loads(to_json(load_config(TINY)))
  right = {"title": "t", "base": base, "variants": [{"name": "a"}]}
  assert build(Sweep, right).variants[0].name == "a"
  for key, value, said in [
    ("variants", ["a"], "variants: is a section"),
    ("variants", 1, "config key variants: expected"),
    ("variants", [{"name": "a", "overrides": 7}], "variants.overrides"),
    ("variants", [{"name": "a", "paper": {"psnr": "x"}}], "expected float"),
    ("seeds", ["z"], "seeds: expected int"),
    ("splits", {"test": 1}, r"splits\['test'\]: expected str"),
    ("splits", "test", "splits: expected"),
    ("base", 1, "base: is a section"),
  ]:
    with pytest.raises(InputError, match=said):
      build(Sweep, right | {key: value})


@pytest.mark.parametrize(
  "average", [None, 1, [], {"psnr": "x"}, {"psnr": None}]
)
def test_scores_of_a_sweep_that_lie(average, tmp_path):
  config = load_config(TINY)
  path = tmp_path / "scores-test.json"
  told = {"config": json.loads(to_json(config)), "average": average}
  path.write_text(json.dumps(told))
  with pytest.raises(InputError, match=r"scores-test\.json: damaged"):
    _read_scores(path, config)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
  """A data set, and arguments that evaluate it; all is compiled."""
  folder = tmp_path_factory.mktemp("evaluated")
  data_set(folder)
  arguments = [a.replace("{folder}", str(folder)) for a in RECORDS]
  # JAX, too, writes what it has compiled; here it does so before.
  assert ended(evaluate.main, [*arguments, "--out", folder / "out"]).code == 0
  return arguments


@pytest.mark.parametrize("size", [0, 300, 5000])
def test_a_file_limit_ends_an_evaluation(size, evaluated, tmp_path):
  """It ends the report's own video, the other one, or the sheet."""
  out = tmp_path / "out"
  how = limited(evaluate.main, [*evaluated, "--out", out], size)
  one_line(how, "File too large")
  assert not [name for name in content(tmp_path) if "partial" in name]


def test_a_file_limit_ends_scores_of_videos(tmp_path):
  made.plain(tmp_path)
  pair = ["--prediction", tmp_path / "clip.mkv", "--metrics", "psnr"]
  pair += ["--target", tmp_path / "clip.mkv", "--out"]
  # JAX, too, writes what it has compiled; here it does so before.
  assert ended(evaluate.main, [*pair, tmp_path / "first"]).code == 0
  before = content(tmp_path)
  how = limited(evaluate.main, [*pair, tmp_path / "out"], 100)
  one_line(how, "metrics.json: File too large")
  assert content(tmp_path).keys() - before.keys() <= {"out"}
