"""Writes a data set: one shard per video, split by video, resumable.

Each video is written to `parts/` first, whole or not at all; a second run
skips what is there. The shards get their final names, which hold their
number, once every part exists.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from data_prep.prepare import prepare
from data_prep.sources import (
  Clip,
  Detector,
  expand,
  file_clip,
  procedural_clip,
)
from diffmvr_jax.data.records import (
  DATASET,
  RecordSource,
  ShardWriter,
  index_path,
  read_index,
  shard_name,
  write_atomically,
)
from diffmvr_jax.errors import InputError


def export(
  names: list[str],
  out: Path,
  *,
  size: int,
  synthetic: bool,
  find_face: Detector | None,
  find_occluder: Detector | None,
  test_share: float,
  seed: int,
) -> None:
  """Exports videos to a folder of records.

  Args:
    names: files, folders or `procedural:FIRST-LAST`.
    out: the data set's folder.
    size: side of the crops, in pixels.
    synthetic: paste hands, for ground truth; else find real ones.
    find_face: face detector, needed for files.
    find_occluder: hand detector, needed for files unless `synthetic`.
    test_share: share of the videos held out as split `test`.
    seed: decides splits and occluders.

  Raises:
    InputError: no video could be used; the folder holds another export.
  """
  sources = expand(names)
  settings = {"size": size, "synthetic": synthetic, "seed": seed}
  settings |= {"test_share": test_share, "sources": [str(s) for s in sources]}
  if _finished(out, settings):
    print(f"{out}: already exported")
    return
  parts = out / "parts"
  parts.mkdir(parents=True, exist_ok=True)
  done: list[Path] = []
  with tqdm(sources, unit="video", desc="export", file=sys.stderr) as progress:
    for number, source in enumerate(progress):
      name = (
        f"procedural_{source:05d}" if isinstance(source, int) else source.stem
      )
      part = parts / f"{name}.tfrecord"
      if not part.exists():
        try:
          clip = _open(source, find_face)
          frames = prepare(
            clip,
            size=size,
            seed=hash_seed(seed, number) if synthetic else None,
            find_occluder=None if synthetic else find_occluder,
          )
          with ShardWriter(part) as writer:
            for record in frames:
              writer.write(record)
        except InputError as error:
          # One bad video must not cost a lab its night's export.
          tqdm.write(f"skipped: {error}", file=sys.stderr)
          continue
      done.append(part)
  if not done:
    raise InputError(f"{out}: none of the {len(sources)} videos could be used")
  _finish(out, done, settings, size=size, test_share=test_share, seed=seed)


def hash_seed(seed: int, number: int) -> int:
  """One seed per video, independent of the others."""
  return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _open(source: Path | int, find_face: Detector | None) -> Clip:
  if isinstance(source, int):
    return procedural_clip(source)
  assert find_face is not None
  return file_clip(source, find_face)


def _finished(out: Path, settings: dict) -> bool:
  manifest = out / "manifest.json"
  if not manifest.exists():
    return False
  if json.loads(manifest.read_text())["settings"] != settings:
    raise InputError(
      f"{out}: holds an export with other settings; choose another folder"
    )
  return True


def _finish(
  out: Path,
  parts: list[Path],
  settings: dict,
  *,
  size: int,
  test_share: float,
  seed: int,
) -> None:
  """Names the shards by split and writes the metadata, last the manifest."""
  order = np.random.default_rng(seed).permutation(len(parts))
  held_out = round(test_share * len(parts))
  if test_share > 0:
    held_out = min(max(held_out, 1), len(parts) - 1)
  splits = {
    "train": sorted(parts[i] for i in order[held_out:]),
    "test": sorted(parts[i] for i in order[:held_out]),
  }
  for split, paths in splits.items():
    for number, part in enumerate(paths):
      shard = out / shard_name(split, number, len(paths))
      # Copied, not moved: a run that is killed here starts over from parts.
      shutil.copyfile(index_path(part), index_path(shard))
      shutil.copyfile(part, shard)
  counts = {
    split: [len(read_index(path).offset) for path in paths]
    for split, paths in splits.items()
    if paths
  }
  _write_tfds_metadata(out, counts, size, has_target=settings["synthetic"])
  manifest = {
    "settings": settings,
    "splits": {s: [p.stem for p in paths] for s, paths in splits.items()},
    "frames": {split: sum(lengths) for split, lengths in counts.items()},
  }
  write_atomically(out / "manifest.json", json.dumps(manifest, indent=2))
  shutil.rmtree(out / "parts")
  for split in counts:
    print(f"{out}: {split}: {RecordSource(out, split)!r}")


def _write_tfds_metadata(
  out: Path, counts: dict[str, list[int]], size: int, has_target: bool
) -> None:
  image = tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg")
  features = {
    "video_id": tfds.features.Text(),
    "frame_index": tfds.features.Scalar(np.int64),
    "past_index": tfds.features.Scalar(np.int64),
    "fps": tfds.features.Scalar(np.float32),
    "image": image,
    "symmetric": image,
    "symmetric_valid": tfds.features.Scalar(np.bool_),
    "mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
    "crop_transform": tfds.features.Tensor(shape=(2, 3), dtype=np.float32),
    "landmarks": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
    "source": {"path": tfds.features.Text(), "sha256": tfds.features.Text()},
  }
  if has_target:
    features["target"] = image
  tfds.folder_dataset.write_metadata(
    data_dir=out,
    features=tfds.features.FeaturesDict(features),
    split_infos=[_split_info(out, *item) for item in counts.items()],
    filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    check_data=False,
  )


def _split_info(
  out: Path, split: str, lengths: Iterable[int]
) -> tfds.core.SplitInfo:
  lengths = list(lengths)
  shards = [
    out / shard_name(split, i, len(lengths)) for i in range(len(lengths))
  ]
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=lengths,
    num_bytes=sum(path.stat().st_size for path in shards),
    filename_template=tfds.core.ShardedFileTemplate(
      dataset_name=DATASET,
      data_dir=epath.Path(out),
      split=split,
      filetype_suffix="tfrecord",
    ),
  )
