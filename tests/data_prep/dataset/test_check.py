import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data_prep.__main__ import main
from data_prep.dataset.check import inspect
from diffmvr_jax.errors import InputError


@pytest.fixture
def data(tiny_data, tmp_path):
  return shutil.copytree(tiny_data, tmp_path / "data")


def test_it_counts_and_draws(data, capsys):
  assert inspect(data) == 0
  said = capsys.readouterr().out
  train, test = (
    next(line for line in said.splitlines() if line.startswith(split)).split()
    for split in ("train", "test")
  )
  assert train[1:3] == ["4", "144"] and test[1:3] == ["1", "36"]
  assert "32 px, 25.00" in said
  for split in ("train", "test"):
    with Image.open(data / f"sheet-{split}.png") as sheet:
      assert sheet.height == 5 * 130  # frame, mask, symmetric, past, target


def test_every_checksum_is_verified(data, capsys):
  shard = sorted(data.glob("*train*-00002-of-*"))[0]
  content = bytearray(shard.read_bytes())
  content[len(content) // 2] ^= 1
  shard.write_bytes(content)
  with pytest.raises(SystemExit) as stop:
    main(["inspect", str(data)])
  assert stop.value.code == 1
  said = capsys.readouterr()
  assert f"{shard}: record" in said.out and "checksum" in said.out
  assert "1 failed" in said.err


def test_an_empty_folder_is_refused(tmp_path):
  with pytest.raises(InputError, match="no records here"):
    inspect(tmp_path)


def test_stock_tfds_reads_the_folder(tiny_data):
  """With TensorFlow, which has an environment of its own: see the Makefile."""
  python = Path(sys.prefix) / "tfds" / "bin" / "python"
  if not python.exists():
    pytest.skip("`make test` installs TensorFlow into .venv/tfds")
  code = """
import sys
import tensorflow_datasets as tfds

builder = tfds.builder_from_directory(sys.argv[1])
assert builder.info.splits["train"].num_examples == 144
assert builder.info.splits["test"].num_examples == 36
past = []
one_by_one = tfds.ReadConfig(interleave_cycle_length=1)
frames = builder.as_dataset(split="train", read_config=one_by_one)
for example in frames.take(36).as_numpy_iterator():
  assert example["image"].shape == example["target"].shape == (32, 32, 3)
  assert example["mask"].shape == (32, 32, 1)
  assert set(example["mask"].ravel()) <= {0, 255}
  assert example["symmetric_mask"].shape == (32, 32, 1)
  assert example["landmarks"].shape == (21, 2)
  assert example["crop_transform"].shape == (2, 3)
  assert list(example["fps_exact"]) == [25, 1]
  past.append(int(example["past_index"]))
assert past[0] == -1 and max(past) > 20
print("read", len(past))
"""
  run = subprocess.run(
    [python, "-c", code, str(tiny_data)],
    capture_output=True,
    text=True,
    check=False,
  )
  assert "read 36" in run.stdout, run.stderr[-2000:]
