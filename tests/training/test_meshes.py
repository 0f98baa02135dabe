"""The same losses on every mesh; devices are virtual, in own processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import main as data_prep

CONFIG = Path(__file__).parents[1] / "tiny_config.py"
OVERRIDES = (
  "autoencoder_stage.steps=0",
  "model.autoencoder.scaling_factor=1.0",
  "diffusion_stage.steps=20",
  "diffusion_stage.batch_size=8",
  "data.window=4",
  "checkpoint.every=20",
)


def start(workdir, data, mesh, *, devices, overrides=(), **environment):
  """Starts a training in a process with so many virtual devices."""
  sizes = zip(("data", "frame", "fsdp"), mesh, strict=True)
  flags = f"--xla_force_host_platform_device_count={devices}"
  if "dump" in environment:
    names = "update|bucket_losses|restore_window"
    flags += f" --xla_dump_to={environment.pop('dump')}"
    flags += f" --xla_dump_hlo_module_re=jit_({names})"
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "diffmvr_jax.train"),
      *("--config", CONFIG, "--workdir", workdir),
      *(f"data.path={data}", *OVERRIDES, *overrides),
      *(f"mesh.{axis}={size}" for axis, size in sizes),
    ],
    env=os.environ
    | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    | environment,
    stderr=subprocess.PIPE,
    text=True,
  )


def losses(workdir, *processes):
  said = [process.communicate()[1] for process in processes]
  for process, text in zip(processes, said, strict=True):
    assert process.returncode == 0, text[-3000:]
  lines = (workdir / "diffusion.jsonl").read_text().splitlines()
  return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  """Five drawn clips at 32 px; one is for validation."""
  folder = tmp_path_factory.mktemp("data") / "records"
  settings = ["--size", "32", "--validation-share", "0.2"]
  data_prep(["export", "procedural:0-4", "--out", str(folder), *settings])
  return folder


@pytest.fixture(scope="module")
def alone(records, tmp_path_factory):
  """The losses of 20 steps on one device."""
  workdir = tmp_path_factory.mktemp("meshes") / "one"
  found = losses(workdir, start(workdir, records, (1, 1, 1), devices=1))
  assert len(found) == 20
  return found


def pytest_generate_tests(metafunc):
  """Every mesh compiles for most of a minute, so some wait for --full-size."""
  if "mesh" in metafunc.fixturenames:
    full = metafunc.config.getoption("--full-size")
    meshes = [(8, 1, 1), (2, 2, 2), (1, 4, 2), (1, 1, 8)] if full else []
    metafunc.parametrize("mesh", meshes or [(1, 1, 2)])
  if "processes" in metafunc.fixturenames:
    full = metafunc.config.getoption("--full-size")
    metafunc.parametrize("processes", [1, 2] if full else [1])


def test_losses_agree_on_every_mesh(mesh, alone, records, tmp_path):
  devices = int(np.prod(mesh))
  found = losses(tmp_path, start(tmp_path, records, mesh, devices=devices))
  np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_a_run_on_two_devices_starts_from_a_checkpoint(
  tiny_checkpoint, records, tmp_path
):
  settings = [f"init_from={tiny_checkpoint}", "diffusion_stage.steps=2"]
  process = start(tmp_path, records, (2, 1, 1), devices=2, overrides=settings)
  assert len(losses(tmp_path, process)) == 2


def test_a_run_changes_its_mesh_and_the_motion_loss_crosses_devices(
  alone, records, tmp_path
):
  """Ten steps on one mesh, the rest with each frame on its own device."""
  run, dump = tmp_path / "run", tmp_path / "dump"
  half = ["diffusion_stage.steps=10"]
  losses(run, start(run, records, (2, 2, 2), devices=8, overrides=half))
  validate = ["validation.every=20", "validation.batches=1"]
  process = start(
    run, records, (1, 4, 2), devices=8, overrides=validate, dump=str(dump)
  )
  np.testing.assert_allclose(losses(run, process), alone, rtol=1e-5)
  for name in ("update", "bucket_losses", "restore_window"):
    (program,) = dump.glob(f"*jit_{name}*after_optimizations.txt")
    text = program.read_text()
    # Of 8 windows with 4 frames, a device gets 4 windows and 1 frame.
    assert "u8[4,1,32,32,3]" in text
    # So the network sees 4 images there, not all 16 of the device's windows.
    first = r"= f32\[(\d+),[^\n]*convolution\([^\n]*UNet\)?/conv_in/"
    assert set(re.findall(first, text)) == {"4"}, name
    if name != "restore_window":
      assert re.search(r"collective-permute|all-gather|all-to-all", text)


def start_two(workdir, data, *overrides):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  return [
    start(
      workdir,
      data,
      (1, 4, 2),
      devices=4,
      overrides=overrides,
      JAX_COORDINATOR_ADDRESS=address,
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(i),
    )
    for i in range(2)
  ]


def test_two_processes_equal_one(alone, records, tmp_path):
  processes = start_two(tmp_path, records)
  np.testing.assert_allclose(losses(tmp_path, *processes), alone, rtol=1e-5)


def test_sigterm_saves_and_ends_well(processes, records, tmp_path):
  """Within 30 seconds, in all processes; what is saved is the last step."""
  endless = ["diffusion_stage.steps=100000", "checkpoint.every=100000"]
  if processes == 1:
    run = start(tmp_path, records, (1, 1, 1), devices=1, overrides=endless)
    started = [run]
  else:
    started = start_two(tmp_path, records, *endless)
  log = tmp_path / "diffusion.jsonl"
  while not (log.exists() and log.read_text()):
    assert started[0].poll() is None, started[0].communicate()
    time.sleep(0.1)
  for process in started:
    process.send_signal(signal.SIGTERM)
  for process in started:
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said[-3000:]
    assert "stopped by SIGTERM: saved step" in said
  last = json.loads(log.read_text().splitlines()[-1])["step"]
  assert (tmp_path / "diffusion" / str(last)).is_dir()
