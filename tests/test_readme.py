"""The README's Python runs as it stands."""

import re
from pathlib import Path

import numpy as np

from data_prep import recipe
from data_prep.detectors.given_masks import GivenMasks
from diffmvr_jax import pretrained
from tests.aligned import anchor_alone, write_stand_in
from tests.data_prep.clips import CentredRecipe, drawn

README = Path(__file__).parents[1] / "README.md"


class NoHands(CentredRecipe):
  """Finds the drawn face in the middle, and nothing over it."""

  def occluder_detector(self, source, pace):
    return GivenMasks(np.zeros((99, 160, 160), bool))


def test_the_readmes_python_runs(tiny_config, tmp_path, monkeypatch):
  (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
  prior = pretrained.flow_prior_file()
  (tmp_path / prior.name).write_bytes(prior.read_bytes())
  write_stand_in(tmp_path / "faces128.safetensors", anchor_alone(tiny_config))
  monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
  monkeypatch.setattr(recipe, "Recipe", NoHands)
  frames = np.stack(drawn(3)[0][:6])
  masks = np.zeros(frames.shape[:3], bool)
  masks[2:4, 70:110, 60:95] = True
  names = {"frames": frames, "masks": masks}
  searched = []
  for line in code.strip().splitlines():
    exec(line, names)
    if line.startswith("restored"):
      searched.append(names["restored"])
  nothing_found, given = searched
  np.testing.assert_array_equal(nothing_found, frames)
  changed = (given != frames).any((1, 2, 3))
  assert changed.tolist() == [False, False, True, True, False, False]
