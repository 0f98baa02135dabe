"""Evaluation on records, from a model to numbers and a page."""

import json
import os
import socket
import subprocess
import sys

import cv2
import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.data.windows import read_frames
from diffmvr_jax.errors import InputError
from diffmvr_jax.evaluate import main
from diffmvr_jax.evaluation.records import evaluate_records
from diffmvr_jax.evaluation.summary import table
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.metrics.definitions import DEFINITIONS
from tests.buckets import content, put
from tests.evaluation.write_video import write_video

WITHOUT_NETWORKS = {"psnr", "ssim", "ssim_paper", "tc", "tc_paper", "warp"}


@pytest.fixture(scope="module")
def clip(tiny_data):
  records = RecordSource(tiny_data, "test")
  video_id, positions = next(records.videos())
  return video_id, read_frames(records, list(positions))


@pytest.fixture(scope="module")
def evaluated(tiny_checkpoint, tiny_data, clip, tmp_path_factory):
  """With another model, and another method that is perfect."""
  folder = tmp_path_factory.mktemp("evaluated")
  video_id, arrays = clip
  perfect = folder / "perfect" / video_id
  perfect.mkdir(parents=True)
  for i, image in enumerate(arrays["target"]):
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(perfect / f"{i}.png"), bgr)
  summary = evaluate_records(
    tiny_checkpoint,
    tiny_data,
    "test",
    folder / "out",
    0,
    models=[("same again", tiny_checkpoint)],
    external=[("perfect", folder / "perfect")],
    weights=folder,
  )
  return folder / "out", summary


def test_it_writes_its_four_files(evaluated):
  out, summary = evaluated
  names = {"metrics.json", "sheet.png", "restored.mp4", "report.html"}
  assert {p.name for p in out.iterdir()} == names
  assert json.loads((out / "metrics.json").read_text()) == summary
  assert set(summary["methods"]) == {
    "DiffMVR",
    *BASELINES,
    "same again",
    "perfect",
  }


def test_model_data_and_results_lie_in_a_bucket(
  evaluated, tiny_checkpoint, tiny_data, bucket
):
  there = f"{bucket}/evaluated"
  put(tiny_checkpoint, f"{there}/run")
  put(tiny_data, f"{there}/data")
  main(
    [
      *("--checkpoint", f"{there}/run", "--model", f"again={there}/run"),
      *("--data", f"{there}/data", "--out", f"{there}/out"),
      *("--metrics", "psnr"),
    ]
  )
  found = content(f"{there}/out")
  assert set(found) == {path.name for path in evaluated[0].iterdir()}
  summary, expected = json.loads(found["metrics.json"]), evaluated[1]
  values = expected["methods"]["DiffMVR"]
  for name in ("DiffMVR", "again"):
    for metric, measured in summary["methods"][name].items():
      assert measured == values[metric]
  assert summary["methods"]["again"].keys() == {"psnr", "psnr_mask"}
  conditions = expected["conditions"]
  assert summary["conditions"]["DiffMVR"] == conditions["DiffMVR"]
  with pytest.raises(InputError, match=f"^{there}/none: no such file"):
    main(
      [
        *("--checkpoint", f"{there}/none", "--data", f"{there}/data"),
        *("--out", f"{there}/out2"),
      ]
    )
  assert not content(f"{there}/out2")


def test_every_number_says_what_it_is(evaluated, clip):
  _, summary = evaluated
  covered = int(clip[1]["mask"].any((1, 2, 3)).sum())
  for values in summary["methods"].values():
    assert values.keys() >= WITHOUT_NETWORKS
    assert values["psnr_mask"].keys() == {"value", "frames", "videos"}
    assert values["psnr_mask"]["frames"] == covered
    assert values["tc"]["frames"] == len(clip[1]["frame"]) - 1
  for name in WITHOUT_NETWORKS:
    assert summary["definitions"][name]["definition"] == DEFINITIONS[name].text
  assert set(summary["not_computed"]) == {
    "lpips",
    "fid",
    "fid_paper",
    "fvd",
    "identity",
    "landmarks",
  }
  said = table(summary)
  assert "not computed: FVD; put https://" in said
  assert "| the truth itself | –" in said


def test_external_and_further_models_are_measured_alike(evaluated):
  _, summary = evaluated
  methods = summary["methods"]
  assert methods["same again"] == methods["DiffMVR"]
  assert methods["perfect"]["psnr_mask"]["value"] == 100
  assert methods["perfect"]["tc_mask"] == summary["truth"]["tc_mask"]
  assert methods["do nothing"]["psnr_mask"]["value"] < 30


def test_another_methods_output_needs_no_model(tiny_data, clip, tmp_path):
  """Videos against the truth of records."""
  (tmp_path / "other").mkdir()
  write_video(tmp_path / "other" / f"{clip[0]}.mkv", clip[1]["frame"])
  summary = evaluate_records(
    None,
    tiny_data,
    "test",
    tmp_path / "out",
    0,
    external=[("other", tmp_path / "other")],
    weights=tmp_path,
  )
  methods = summary["methods"]
  assert set(methods) == {"other", *BASELINES}
  assert methods["other"] == methods["do nothing"]
  assert "restored by other" in (tmp_path / "out" / "report.html").read_text()


def test_methods_without_training_are_measured_alone(tiny_data, tmp_path):
  out = tmp_path / "out"
  summary = evaluate_records(None, tiny_data, "test", out, 0, metrics=["psnr"])
  methods = summary["methods"]
  assert set(methods) == set(BASELINES)
  propagation, past, nothing = (
    methods[name]["psnr_mask"]["value"]
    for name in ("propagation", "past frame", "do nothing")
  )
  assert propagation > past > nothing
  assert "restored by propagation" in (out / "report.html").read_text()


@pytest.mark.parametrize("names", [("Telea",), ("mine", "mine")])
def test_two_methods_of_one_name_are_refused(names, tiny_data, tmp_path):
  external = [(name, tmp_path / str(i)) for i, name in enumerate(names)]
  with pytest.raises(InputError, match="another method is called"):
    evaluate_records(
      None, tiny_data, "test", tmp_path / "out", 0, external=external
    )
  assert not (tmp_path / "out").exists()


def test_an_external_method_must_have_every_clip(
  tiny_checkpoint, tiny_data, clip, tmp_path
):
  def evaluate():
    evaluate_records(
      tiny_checkpoint,
      tiny_data,
      "test",
      tmp_path / "out",
      0,
      external=[("other", tmp_path / "other")],
      weights=tmp_path,
    )

  (tmp_path / "other").mkdir()
  with pytest.raises(InputError, match="no video, and no picture"):
    evaluate()
  write_video(tmp_path / "other" / f"{clip[0]}.mkv", clip[1]["target"][:4])
  with pytest.raises(InputError, match=r"\.mkv: \(4, 32, 32\) frames"):
    evaluate()


def test_two_processes_measure_what_one_does(
  tiny_checkpoint, tiny_data, tmp_path
):
  arguments = [
    *("--checkpoint", str(tiny_checkpoint), "--data", str(tiny_data)),
    *("--split", "train", "--metrics", "psnr,tc"),
  ]
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  command = [sys.executable, "-m", "diffmvr_jax.evaluate", *arguments]
  processes = [
    subprocess.Popen(
      [*command, "--out", str(tmp_path / "two")],
      env=os.environ
      | {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(i),
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  main([*arguments, "--out", str(tmp_path / "one")])
  for process in processes:
    _, said = process.communicate()
    assert process.returncode == 0, said[-3000:]
  one, two = (
    json.loads((tmp_path / name / "metrics.json").read_text())["methods"]
    for name in ("one", "two")
  )
  assert one.keys() == two.keys()
  for method, values in one.items():
    assert values["psnr_mask"]["videos"] == 4
    for name, value in values.items():
      assert two[method][name] == pytest.approx(value)
