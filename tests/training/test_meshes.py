"""The same losses on other meshes; devices are virtual, in own processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAM = """
import json, sys
from pathlib import Path
from diffmvr_jax.config import load_config
from diffmvr_jax.training.loop import train
config, workdir, *overrides = sys.argv[1:]
train(load_config(config, overrides), Path(workdir))
lines = (Path(workdir) / "diffusion.jsonl").read_text().splitlines()
print(json.dumps([json.loads(line)["loss"] for line in lines]))
"""
OVERRIDES = (
  "autoencoder_stage.steps=0",
  "diffusion_stage.steps=3",
  "diffusion_stage.batch_size=4",
  "data.window=2",
)


def losses(workdir, data, mesh):
  devices = int(np.prod(mesh))
  sizes = zip(("data", "frame", "fsdp"), mesh, strict=True)
  config = Path(__file__).parents[1] / "tiny_config.py"
  virtual = f"--xla_force_host_platform_device_count={devices}"
  run = subprocess.run(
    [
      sys.executable,
      "-c",
      PROGRAM,
      config,
      workdir,
      f"data.path={data}",
      *OVERRIDES,
      *(f"mesh.{axis}={size}" for axis, size in sizes),
    ],
    env=os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {virtual}"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr
  return json.loads(run.stdout.splitlines()[-1])


def test_losses_agree_on_every_mesh(tiny_data, tmp_path):
  one = losses(tmp_path / "one", tiny_data, (1, 1, 1))
  eight = losses(tmp_path / "eight", tiny_data, (2, 2, 2))
  np.testing.assert_allclose(eight, one, rtol=1e-5)
