"""The step that the train loop, the compile check and the benchmark share."""

import dataclasses

import pytest

from diffmvr_jax.data.records import RecordSource
from diffmvr_jax.errors import InputError
from diffmvr_jax.models.diffmvr import DiffMVR
from diffmvr_jax.training.assemble import assemble, diffusion_stage
from diffmvr_jax.training.inputs import (
  expected_shapes,
  open_training_windows,
  shapes_of,
)
from diffmvr_jax.training.sharding import make_mesh


def test_a_batch_has_the_shapes_that_the_config_asks_for(tiny_config):
  records = RecordSource(tiny_config.data.path, "train")
  windows = open_training_windows(tiny_config, records)
  expected = expected_shapes(tiny_config, 5, encoded=False)
  assert shapes_of(windows, 5) == expected


def test_parts_that_do_not_divide_a_batch_are_refused(tiny_config):
  stage = diffusion_stage(tiny_config, encoded=False)
  optimizer = dataclasses.replace(stage.optimizer, accumulate=2)
  uneven = dataclasses.replace(stage, batch_size=3, optimizer=optimizer)
  with pytest.raises(InputError, match=r"its optimizer\.accumulate"):
    assemble(
      uneven,
      DiffMVR(config=tiny_config.model).shapes(32),
      expected_shapes(tiny_config, 3, encoded=False),
      make_mesh(tiny_config.mesh),
    )
