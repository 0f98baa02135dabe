"""The demos, drills and tables of `launch/`, and the scripts of baselines."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from launch import (
  class_pictures,
  compared,
  compile_check,
  demo,
  demo_train,
  drill,
  paper,
  ray_drill,
  soak,
)
from launch.baselines import frames
from tests.conftest import TINY
from tests.hostile.made import fifo, file, making
from tests.hostile.running import Case, content, ended, judge
from tests.hostile.test_disks import limited, one_line
from tests.hostile.test_records import data_set

SCRIPTS = Path(compared.__file__).parent / "baselines"
A_FILE = making(file("file", "x"))


def refused(module, *arguments, said, make=A_FILE, **more):
  name = f"{module.__name__.rpartition('.')[2]} {' '.join(arguments[-2:])}"
  return Case(name, module.main, arguments, said, make, **more)


def checked(*arguments, said):
  config = ("--config", str(TINY))
  return refused(compile_check, *config, *arguments, said=said)


def tabulated(*arguments, said, make=A_FILE):
  files = ("--data", "{folder}", "--models", "{folder}/m.toml")
  return refused(
    *(paper, "table1", *files, "--out", "{folder}/out", *arguments),
    said=said,
    make=make,
  )


def methods(text, said):
  return tabulated(said=said, make=file("m.toml", text))


NO_PLACE = "a part of this path is a file"
PLACES = ("{folder}/file", "{folder}/file/x")
NO_COUNTS = ["0", "-1", "1.5", "nan", "x", "", "²", "1_0", "9" * 30]
NO_SEEDS = ["-1", "1.5", "nan", "x", "", "٣", str(2**32)]

CASES = [
  *(
    refused(module, "--nonsense", said="--nonsense")
    for module in (demo, demo_train, drill, soak, ray_drill)
  ),
  *(
    refused(module, f"--seed={value}", said="argument --seed: ")
    for module in (drill, ray_drill)
    for value in NO_SEEDS
  ),
  *(
    refused(module, f"{option}={value}", said=f"argument {option}: .* is not ")
    for module, option in (
      (drill, "--kills"),
      (ray_drill, "--kills"),
      (ray_drill, "--videos"),
    )
    for value in NO_COUNTS
  ),
  *(
    refused(soak, f"--seconds={value}", said="argument --seconds: ")
    for value in ("0", "-1", "nan", "inf", "1e999", "x", "", "٣")
  ),
  *(
    refused(soak, f"--port={value}", said="argument --port: .* is not ")
    for value in ("0", "-1", "65536", "1_0", "x", "")
  ),
  *(
    refused(module, "--out", place, said=NO_PLACE)
    for module in (demo, demo_train, soak)
    for place in PLACES
  ),
  *(refused(drill, "--out", place, said="Not a directory") for place in PLACES),
  refused(
    *(drill, "--out", "{folder}"),
    said="holds a drill already",
    make=lambda folder: (folder / "killed").mkdir(),
  ),
  refused(ray_drill, "--out", PLACES[0], said="holds a drill already"),
  *(
    refused(demo, "--out", "{folder}/out", "--checkpoint", where, said=said)
    for where, said in [
      ("/nowhere", "no trained or imported model"),
      ("{folder}", "no trained or imported model"),
      ("{folder}/file", "no trained or imported model"),
      ("pretrained:x", "no such model"),
      ("/nowhere.safetensors", "no such file"),
    ]
  ),
  *(
    refused(demo_train, "--out", "{folder}/out", setting, said=said)
    for setting, said in [
      ("seed=-1", "config key seed: -1"),
      ("sed=1", "unknown config key sed"),
      ("seed", "not of the form key=value"),
      ("data.window=0", "config key data.window: 0"),
    ]
  ),
  refused(compile_check, said="are required: --config, --topology"),
  refused(
    *(compile_check, "--config", "/nowhere", "--topology", "v5e:2x2"),
    said="no such config file",
  ),
  *(
    checked("--topology", topology, said=f"--topology {topology}: ")
    for topology in ("x", "", "v5e", "v5e:0x0", "v5e:x", "v5e:-1x2", "v5e:²x²")
  ),
  *(
    checked("--topology", topology, said=f"--topology {topology}: ")
    for topology in ("h100", "h100:", "h100:x", "h100:2x", "h100:-1")
  ),
  *(
    checked(
      *("--topology", "v5e:2x2", f"--batch-per-chip={value}"),
      said="argument --batch-per-chip: .* is not ",
    )
    for value in NO_COUNTS
  ),
  checked("--topology", "v5e:2x2", "seed=x", said="config key seed"),
  *(
    refused(class_pictures, "x", "--out", "x", f"{option}={value}", said=said)
    for option, values, said in (
      ("--count", NO_COUNTS, "argument --count: .* is not "),
      ("--seed", NO_SEEDS, "argument --seed: "),
    )
    for value in values
  ),
  *(
    refused(class_pictures, where, "--out", "{folder}/out", said=said)
    for where, said in [
      ("/nowhere", "no trained or imported model"),
      ("{folder}/file", "no trained or imported model"),
      ("pretrained:faces128", "is not told anything in words"),
    ]
  ),
  refused(
    *(class_pictures, "x", "seed=1", "--out", "x"),
    said="seed=1: only sampling.KEY=VALUE",
  ),
  refused(paper, said="are required: "),
  refused(paper, "table9", said="invalid choice: 'table9'"),
  *(
    tabulated(f"--limit={value}", said="argument --limit: .* is not ")
    for value in NO_COUNTS
  ),
  *(
    tabulated(f"--seed={value}", said="argument --seed: ") for value in NO_SEEDS
  ),
  tabulated(said="m.toml: no such file"),
  tabulated(said="m.toml: no such", make=lambda f: (f / "m.toml").mkdir()),
  tabulated(said="m.toml: a pipe", make=lambda f: fifo(f / "m.toml")),
  methods("", "names no method"),
  methods(b"\xff\xfe[", "not readable"),
  methods("[", "not readable"),
  methods("a = 1", "is no section"),
  methods("[a]", r"\[a\] needs one of"),
  methods("[a]\ncheckpoint = 1", r"\[a\] needs one of"),
  methods("['../x']\nbaseline = 'past frame'", "is not a plain name"),
  methods("[a]\nbaseline = 'x'", "baseline 'x'; there are"),
  methods(
    "[a]\nbaseline = 'past frame'\nset = []\nx = 1", r"\[a\] needs one of"
  ),
  methods("[a]\nresults = 'x/{nope}'", "in braces there is only {data}"),
  methods("[a]\nresults = 'x/{'", "in braces there is only {data}"),
  methods("[a]\nresults = '{0}'", "in braces there is only {data}"),
  methods("[a]\nresults = '{data.x}'", "in braces there is only {data}"),
  methods("[a]\nbaseline = 'past frame'", "none of the folders of records"),
  refused(frames, said="are required: --data, --out"),
  *(
    refused(
      *(frames, "--data", data, "--split", split, "--out", "{folder}/out"),
      said=said,
      make=making(A_FILE, data_set),
    )
    for data, split, said in [
      ("/nowhere", "train", "no such data folder"),
      ("{folder}/file", "train", "no train records|no such data"),
      ("{folder}", "train", "no train records"),
      ("{folder}/data", "test", "no test records"),
      ("{folder}/data", "../x", "no ../x records"),
    ]
  ),
  *(
    refused(
      *(frames, "--data", "{folder}/data", "--split", "train", "--out", place),
      said=NO_PLACE,
      make=making(A_FILE, data_set),
    )
    for place in PLACES
  ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:60])
def test_an_argument_that_cannot_be_used(case, tmp_path):
  judge(case, tmp_path)


@pytest.mark.parametrize(
  "scores",
  ["", "{", "[]", "{}", '{"methods": 1}', '{"methods": {"DiffMVR": {}}}'],
)
def test_a_demo_whose_scores_are_damaged(scores, tmp_path):
  files = {"report.html": "x", "metrics.json": scores}
  case = Case(
    "scores",
    lambda argv: compared.compare(tmp_path, tmp_path, tmp_path, 0),
    [],
    "metrics.json: damaged .*; delete .*report.html",
    making(*(file(name, text) for name, text in files.items())),
  )
  judge(case, tmp_path)


TABLE = ["table2", "--data", "{folder}", "--models", "{folder}/m.toml"]
TABLE += ["--split", "train", "--out", "{folder}/out"]


@pytest.fixture(scope="module")
def tabled(tmp_path_factory):
  """A table of one method that is measured."""
  folder = tmp_path_factory.mktemp("tabled")
  data_set(folder)
  (folder / "data").rename(folder / "segmented")
  file("m.toml", "[a]\nbaseline = 'past frame'")(folder)
  how = ended(paper.main, [a.replace("{folder}", str(folder)) for a in TABLE])
  assert how.code == 0, how.lines
  return folder


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda told: "no JSON", "damaged"),
    (lambda told: "[]", "damaged"),
    (lambda told: "{}", "measured with another method"),
    (lambda told: json.dumps(told | {"measured": 1}), "damaged"),
    (lambda told: json.dumps(told | {"measured": {"x": 1}}), "damaged"),
  ],
)
def test_scores_of_a_table_that_lie(change, said, tabled, tmp_path):
  (path,) = (tabled / "out" / "scores").rglob("*.json")
  told = path.read_text()
  path.write_text(change(json.loads(told)))
  before = content(tabled)
  try:
    arguments = [a.replace("{folder}", str(tabled)) for a in TABLE]
    one_line(ended(paper.main, arguments), path.name, said, "remove")
    assert content(tabled) == before
  finally:
    path.write_text(told)


def test_a_file_limit_ends_a_table(tabled):
  (tabled / "out" / "table2.png").unlink()
  sizes = [path.stat().st_size for path in (tabled / "out").glob("table2.*")]
  before = content(tabled)
  arguments = [a.replace("{folder}", str(tabled)) for a in TABLE]
  how = limited(paper.main, arguments, max(sizes))
  one_line(how, "table2.png: File too large")
  assert content(tabled) == before


def test_a_file_limit_ends_pictures_of_clips(tmp_path):
  data_set(tmp_path)
  before = content(tmp_path)
  arguments = ["--data", tmp_path / "data", "--split", "train"]
  how = limited(frames.main, [*arguments, "--out", tmp_path / "out"], 60)
  one_line(how, "clip: File too large")
  # No picture of the clip.
  assert content(tmp_path).keys() - before.keys() <= {"out", "out/frames"}


def test_a_drill_that_is_interrupted_leaves_no_process(tmp_path, monkeypatch):
  sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
  process = subprocess.Popen(sleeping, start_new_session=True)

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(drill.subprocess, "Popen", lambda *_, **options: process)
  for moment in ("_after_a_save", "_between_saves", "_at_any_time"):
    monkeypatch.setattr(drill, moment, interrupt)
  with pytest.raises(KeyboardInterrupt):
    drill._kill(tmp_path, 1, random.Random(0))
  assert process.poll() is not None


@pytest.mark.parametrize("script", ["e2fgvi", "lama", "lgvi", "propainter"])
@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    ([], "error: --checkout is missing"),
    (["--checkout"], "error: --checkout needs a folder"),
    (["--clips"], "error: --clips needs a folder"),
    (["--checkout", "x", "--out"], "error: --out needs a folder"),
    (["--nonsense"], "error: unknown option --nonsense"),
    (["--checkout", "x", "--clips", "/nowhere", "--out", "x"], "no frames"),
  ],
)
def test_a_script_of_a_baseline(script, arguments, said, tmp_path):
  done = subprocess.run(
    ["bash", SCRIPTS / f"{script}.sh", *arguments],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert said in line and not content(tmp_path)
