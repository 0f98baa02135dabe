"""The metrics' networks with random weights, against PyTorch's."""

import warnings

import numpy as np
import pytest
import torch

from diffmvr_jax.errors import InputError
from diffmvr_jax.media.video import read_frames
from diffmvr_jax.metrics import weight_files
from diffmvr_jax.metrics.accumulators import FeatureMoments
from diffmvr_jax.metrics.clip_metrics import ClipMetrics
from diffmvr_jax.metrics.pretrained import (
  load_i3d,
  load_inception,
  load_lpips,
  load_networks,
)

SIZE = 80


@pytest.fixture(scope="module", params=["drawn", "real"])
def images(request):
  """Three images, of waves and noise, or adjacent frames of a face."""
  if request.param == "real":
    folder = request.getfixturevalue("assets") / "faces"
    frames = read_frames(folder / "face_01.mp4")
    return np.stack([next(frames).image[::6, ::6][:SIZE, :SIZE] for _ in "123"])
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:SIZE, :SIZE]
  waves = [
    128 + 90 * np.sin(x / (3 + i)) * np.cos(y / (9 + c))
    for i in range(3)
    for c in range(3)
  ]
  smooth = np.stack(waves).reshape(3, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
  noise = rng.normal(0, 12, smooth.shape)
  return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def randomised(network: torch.nn.Module) -> torch.nn.Module:
  """Normalisations that do something, activations that stay in range."""
  generator = torch.Generator().manual_seed(0)
  for module in network.modules():
    if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
      torch.nn.init.kaiming_normal_(module.weight, generator=generator)
    if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
      for values, low, high in (
        (module.weight, 0.5, 1.5),
        (module.bias, -0.2, 0.2),
        (module.running_mean, -0.2, 0.2),
        (module.running_var, 0.5, 2.0),
      ):
        torch.nn.init.uniform_(values, low, high, generator=generator)
  return network.eval()


def relative(actual, expected) -> float:
  expected = np.asarray(expected)
  return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def channels_first(images: np.ndarray) -> torch.Tensor:
  return torch.from_numpy(np.moveaxis(images, -1, 1)).float()


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
  from pytorch_fid import inception

  made = {}

  def weights(*args, **kwargs):
    network = inception._inception_v3(
      num_classes=1008, aux_logits=False, weights=None
    )
    made.update(randomised(network).state_dict())
    return made

  # The package would fetch its weights.
  patch = pytest.MonkeyPatch()
  patch.setattr(inception, "load_state_dict_from_url", weights)
  network = inception.InceptionV3([3]).eval()
  patch.undo()
  path = tmp_path_factory.mktemp("fid") / "pt_inception-2015-12-05-6726825d.pth"
  torch.save(made, path)
  return path, network


def test_inception_is_pytorch_fids(inception_file, images):
  path, network = inception_file
  with torch.no_grad():
    (expected,) = network(channels_first(images) / 255)
  actual = load_inception(path)(images)
  assert actual.shape == (3, 2048)
  assert relative(actual, expected[:, :, 0, 0]) < 1e-5


@pytest.fixture(scope="module")
def i3d_network():
  from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d

  return randomised(InceptionI3d(400, in_channels=3))


def video(images: np.ndarray) -> np.ndarray:
  return np.concatenate([images] * 6)[:16]


def reference_logits(network, images) -> np.ndarray:
  from cdfvd.third_party.i3d.utils import preprocess_i3d

  with torch.no_grad():
    return network(preprocess_i3d(video(images)[None])).numpy()


def test_i3d_is_the_port_of_tats(i3d_network, images, tmp_path):
  path = tmp_path / "i3d_pretrained_400.pt"
  torch.save(i3d_network.state_dict(), path)
  actual = load_i3d(path)(video(images)[None])
  assert relative(actual, reference_logits(i3d_network, images)) < 1e-5


def test_other_i3d_weights_have_tensorflows_epsilon(
  i3d_network, images, tmp_path
):
  path = tmp_path / "rgb_imagenet.pt"
  torch.save(i3d_network.state_dict(), path)
  for module in i3d_network.modules():
    if isinstance(module, torch.nn.BatchNorm3d):
      module.eps = 1e-3
  try:
    expected = reference_logits(i3d_network, images)
  finally:
    for module in i3d_network.modules():
      if isinstance(module, torch.nn.BatchNorm3d):
        module.eps = 1e-5
  actual = load_i3d(path)(video(images)[None])
  assert relative(actual, expected) < 1e-5
  assert relative(reference_logits(i3d_network, images), expected) > 1e-4


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory):
  import lpips

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of how it calls torchvision
    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
  folder = tmp_path_factory.mktemp("lpips")
  backbone, heads = {}, {}
  for name, values in network.state_dict().items():
    if name.startswith("net.slice"):
      backbone["features." + name.split(".", 2)[2]] = values
    elif name.startswith("lin") and "lins" not in name:
      heads[name] = values
  torch.save(backbone, folder / "alexnet-owt-7be5be79.pth")
  torch.save(heads, folder / "alex.pth")
  return folder, network


def test_lpips_is_the_package_of_its_authors(lpips_files, images):
  folder, network = lpips_files
  other = images[:, ::-1].copy()
  mask = np.zeros((3, SIZE, SIZE, 1), np.uint8)
  mask[:, 20:50, 30:60] = 1
  x, y = (channels_first(i) / 127.5 - 1 for i in (images, other))
  with torch.no_grad():
    whole = network(x, y)[:, 0, 0, 0]
    network.spatial = True
    inside = network(x, y)[:, 0, 20:50, 30:60].mean((1, 2))
    network.spatial = False
  compare = load_lpips(folder / "alexnet-owt-7be5be79.pth", folder / "alex.pth")
  actual = compare(images, other, mask)
  np.testing.assert_allclose(actual["lpips"], whole, rtol=1e-5)
  np.testing.assert_allclose(actual["lpips_mask"], inside, rtol=1e-5)
  np.testing.assert_allclose(compare(images, images, mask)["lpips"], 0)


def test_small_images_have_an_lpips(lpips_files, images):
  folder, _ = lpips_files
  compare = load_lpips(folder / "alexnet-owt-7be5be79.pth", folder / "alex.pth")
  small = images[:, :32, :32]
  mask = np.ones((3, 32, 32, 1), np.uint8)
  values = compare(small, small[::-1].copy(), mask)
  assert np.isfinite(values["lpips_mask"]).all()
  assert values["lpips"][0] > 0


def test_weights_of_another_network_are_refused(lpips_files):
  folder, _ = lpips_files
  with pytest.raises(InputError) as error:
    load_inception(folder / "alexnet-owt-7be5be79.pth")
  assert "Mixed_7c.branch_pool.bn.running_var" in str(error.value)
  with pytest.raises(InputError, match="no lin0"):
    load_lpips(
      folder / "alexnet-owt-7be5be79.pth", folder / "alexnet-owt-7be5be79.pth"
    )


def test_what_is_missing_is_named(lpips_files, monkeypatch, tmp_path):
  folder, _ = lpips_files
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.delenv("DIFFMVR_MODELS", raising=False)
  loaded = load_networks(folder)
  assert set(loaded.digests) == {"lpips"}
  assert len(loaded.digests["lpips"]["alex.pth"]) == 64
  missing = {"fid", "fid_paper", "fvd", "identity", "landmarks"}
  assert set(loaded.missing) == missing
  assert "pt_inception" in loaded.missing["fid"]
  assert str(folder) in loaded.missing["fid"]


def test_a_package_that_is_missing_is_named(lpips_files, monkeypatch):
  folder, _ = lpips_files
  monkeypatch.setattr(weight_files, "find_spec", lambda name: None)
  loaded = load_networks(folder, ("lpips",))
  assert loaded.missing == {"lpips": "pip install '.[convert]'"}


def test_a_clip_has_every_distance(inception_file, i3d_network, tmp_path):
  """FID and FVD, whole and in the mask, of a clip seen in pieces."""
  (tmp_path / inception_file[0].name).symlink_to(inception_file[0])
  torch.save(i3d_network.state_dict(), tmp_path / "i3d_pretrained_400.pt")
  loaded = load_networks(tmp_path, ("fid", "fvd"))
  rng = np.random.default_rng(0)
  target = rng.integers(0, 255, (34, 40, 48, 3)).astype(np.uint8)
  restored = np.roll(target, 5, axis=1)
  mask = np.zeros((34, 40, 48, 1), np.uint8)
  mask[3:6, 10:30, 20:40] = 1
  mask[18, 5:9, 5:9] = 1
  whole, pieces = ClipMetrics(loaded.networks), ClipMetrics(loaded.networks)
  whole.add_frames(restored, target, mask)
  for start in range(0, 34, 10):
    part = slice(start, start + 10)
    pieces.add_frames(restored[part], target[part], mask[part])
  for name, frames in (("fid", 4), ("fid_mask", 4), ("fvd", 32)):
    one, other = (
      metrics.measurements.by_metric[name] for metrics in (whole, pieces)
    )
    assert isinstance(one, FeatureMoments) and isinstance(other, FeatureMoments)
    assert one.frames == other.frames == frames
    assert one.videos == other.videos == 1
    for a, b in ((one.restored, other.restored), (one.true, other.true)):
      assert a.count == b.count
      assert relative(b.products, a.products) < 1e-5
  assert whole.measurements.by_metric["fvd"].value > 0
