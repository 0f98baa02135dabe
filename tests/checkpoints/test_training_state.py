"""Damaged checkpoints and full disks: the one before is what counts."""

import shutil

import jax
import numpy as np
import pytest
from orbax.checkpoint import CheckpointManager

from diffmvr_jax.checkpoints.digests import DamagedError, verify
from diffmvr_jax.checkpoints.model import open_for_inference
from diffmvr_jax.training.loop import train
from tests.training.test_training import with_steps


def leaves(workdir):
  stored = open_for_inference(workdir)
  params, step = stored.load(), stored.step
  return step, jax.tree.leaves(params)


def largest_file(folder):
  return max(
    (p for p in folder.rglob("*") if p.is_file()),
    key=lambda p: p.stat().st_size,
  )


def truncate(folder):
  path = largest_file(folder)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(folder):
  path = largest_file(folder)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0xFF
  path.write_bytes(bytes(data))


def lose(folder):
  shutil.rmtree(folder / "state")


def garble(folder):
  (folder / "data" / "metadata").write_text('{"last_seen_index": 0}')


@pytest.mark.parametrize("damage", [truncate, flip, lose, garble])
def test_every_damage_is_noticed(damage, tiny_checkpoint, tmp_path):
  step = shutil.copytree(tiny_checkpoint / "diffusion" / "6", tmp_path / "6")
  verify(step)
  damage(step)
  with pytest.raises(DamagedError, match=r"is lost|has changed"):
    verify(step)


def lose_digests_too(folder):
  lose(folder)
  (folder / "digests.json").unlink()


@pytest.mark.parametrize("damage", [flip, lose_digests_too])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
  damage, tiny_checkpoint, tiny_config, tmp_path, capsys
):
  workdir = shutil.copytree(tiny_checkpoint, tmp_path / "run")
  newest = workdir / "diffusion" / "6"
  damage(newest)
  train(tiny_config, workdir)
  said = capsys.readouterr().err
  assert f"warning: {newest}: cannot be read" in said
  assert "going back" in said
  assert (workdir / "damaged" / "diffusion-6").is_dir()
  step, resumed = leaves(workdir)
  _, whole = leaves(tiny_checkpoint)
  assert step == 6
  for one, other in zip(resumed, whole, strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_full_disk_costs_a_warning(
  tiny_checkpoint, tiny_config, tmp_path, capsys, monkeypatch
):
  """The checkpoint of step 9 cannot be written; the training goes on."""
  workdir = shutil.copytree(tiny_checkpoint, tmp_path / "run")
  write = CheckpointManager.save

  def full(self, step, *args, **options):
    if step == 9:
      raise OSError(28, "No space left on device")
    return write(self, step, *args, **options)

  monkeypatch.setattr(CheckpointManager, "save", full)
  train(with_steps(tiny_config, 4, 10), workdir)
  said = capsys.readouterr().err
  assert "could not be written" in said and "No space left" in said
  assert "newest one is of step 6" in said
  steps = {p.name for p in (workdir / "diffusion").iterdir()}
  assert {"6", "10"} <= steps and "9" not in steps
