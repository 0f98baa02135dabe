"""Completes a data set: splits, shard names, TFDS metadata, manifest."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from data_prep.dataset.part import read_statistics
from data_prep.dataset.splits import (
  SPLITS,
  assign,
  read_subjects,
  subject_in,
)
from data_prep.recipe import Recipe
from diffmvr_jax.buckets import Place, copied, remove_below, uploaded
from diffmvr_jax.data.record_codec import SOURCES_PER_FRAME
from diffmvr_jax.data.records import (
  DATASET,
  index_path,
  read_index,
  shard_name,
)
from diffmvr_jax.errors import InputError
from diffmvr_jax.files import replacing, write_atomically, writing


@dataclass(frozen=True, kw_only=True)
class Splitting:
  """How videos are divided into splits.

  Attributes:
    validation_share: share of the subjects held out as `validation`.
    test_share: share of the subjects held out as `test`.
    subjects: path of a table of subjects, see `data_prep.dataset.splits`.
    subject_pattern: regular expression that finds the subject in the name of a
      video: its first group, or all that it matches. Videos whose names do not
      match are subjects of their own; the table counts more.
    seed: decides which subjects are held out.
  """

  validation_share: float = 0.0
  test_share: float = 0.1
  subjects: str | None = None
  subject_pattern: str | None = None
  seed: int = 0

  def __post_init__(self) -> None:
    """Refuses shares that leave nothing to train on."""
    for share in (self.validation_share, self.test_share):
      if not 0 <= share < 1 or self.validation_share + self.test_share >= 1:
        raise InputError("--validation-share and --test-share: not in [0, 1)")

  def check(self) -> None:
    """Reads the table of subjects, so that errors come before any work.

    Raises:
      InputError: the table of subjects cannot be used.
    """
    try:
      re.compile(self.subject_pattern or "")
    except re.error as error:
      raise InputError(
        f"--subject-pattern {self.subject_pattern}: not a regular expression "
        f"({error})"
      ) from error
    self.of(())

  def of(
    self, videos: Iterable[str], digests: Mapping[str, str] | None = None
  ) -> dict[str, str]:
    """Returns the split of every video.

    Args:
      videos: ids of the videos.
      digests: checksums of the files that the videos come from, by id. Videos
        that come from one file, as the clips of a portrait do, share their
        subject.

    Raises:
      InputError: the table of subjects cannot be used.
    """
    table = read_subjects(Path(self.subjects)) if self.subjects else {}
    videos = list(videos)
    named = {v: subject_in(v, self.subject_pattern) for v in videos}
    if self.subject_pattern and videos and not any(named.values()):
      raise InputError(
        f"--subject-pattern {self.subject_pattern}: is in no name, such as "
        f"{videos[0]}"
      )
    for video, subject in named.items():
      if subject is not None:
        table.setdefault(video, (subject, None))
    first: dict[str, str] = {}
    for video, digest in (digests or {}).items():
      origin = first.setdefault(digest, video)
      table.setdefault(video, table.get(origin, (origin, None)))
    return assign(
      videos,
      table,
      validation_share=self.validation_share,
      test_share=self.test_share,
      seed=self.seed,
    )


def finish(
  out: Place,
  failed: dict[str, str],
  settings: dict,
  recipe: Recipe,
  splitting: Splitting,
) -> None:
  """Names the shards by split and writes the metadata, last the manifest.

  Args:
    out: folder of the data set, with all of its `parts/`; if it is in a bucket,
      all of it is copied to this machine meanwhile.
    failed: errors by source.
    settings: the export's settings, which the manifest repeats.
    recipe: the recipe that the parts were made by.
    splitting: how the videos are divided.

  Raises:
    InputError: there is no part.
  """
  with (
    copied(out / "parts") as folder,
    uploaded(out, last="manifest.json") as finished,
  ):
    parts = {p.stem: p for p in sorted(folder.glob("*.tfrecord"))}
    if not parts:
      raise InputError(f"{out}: none of the {len(failed)} videos could be used")
    finished.mkdir(exist_ok=True)
    counts = _finish(finished, parts, failed, settings, recipe, splitting)
  if isinstance(out, Path):
    shutil.rmtree(out / "parts")
  else:
    remove_below(out / "parts")
  for split, frames in counts.items():
    print(f"{out}: {split}: {frames} frames")


def _finish(
  out: Path,
  parts: Mapping[str, Path],
  failed: dict[str, str],
  settings: dict,
  recipe: Recipe,
  splitting: Splitting,
) -> dict[str, int]:
  """Makes a data set of parts; returns the number of frames of each split."""
  facts = {name: read_statistics(part) for name, part in parts.items()}
  split_of = splitting.of(
    parts, {name: known["sha256"] for name, known in facts.items()}
  )
  counts: dict[str, list[int]] = {}
  for split in SPLITS:
    chosen = [part for name, part in parts.items() if split_of[name] == split]
    for number, part in enumerate(chosen):
      shard = out / shard_name(split, number, len(chosen))
      # Linked, not moved: a run that is killed here starts over from parts.
      _link(index_path(part), index_path(shard))
      _link(part, shard)
    if chosen:
      counts[split] = [len(read_index(path).offset) for path in chosen]
  _write_tfds_metadata(out, counts, recipe)
  videos = [known | {"split": split_of[name]} for name, known in facts.items()]
  frames = {split: sum(lengths) for split, lengths in counts.items()}
  manifest = {
    "settings": settings,
    "frames": frames,
    "videos": videos,
    "failed": [{"source": s, "error": e} for s, e in sorted(failed.items())],
  }
  write_atomically(out / "manifest.json", json.dumps(manifest, indent=2))
  return frames


def _link(source: Path, target: Path) -> None:
  target.unlink(missing_ok=True)
  try:
    os.link(source, target)
  except OSError:  # not every file system has links
    with writing(target), replacing(target) as partial:
      shutil.copyfile(source, partial)


def _write_tfds_metadata(
  out: Path, counts: dict[str, list[int]], recipe: Recipe
) -> None:
  size = recipe.size
  image = tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg")
  mask = tfds.features.Image(shape=(size, size, 1), encoding_format="png")
  ratio = tfds.features.Tensor(shape=(2,), dtype=np.int64)
  features = {
    "video_id": tfds.features.Text(),
    "frame_index": tfds.features.Scalar(np.int64),
    "past_index": tfds.features.Scalar(np.int64),
    "fps": tfds.features.Scalar(np.float32),
    "fps_exact": ratio,
    "time_exact": ratio,
    "image": image,
    "mask": mask,
    "symmetric": image,
    "symmetric_mask": mask,
    "symmetric_valid": tfds.features.Scalar(np.bool_),
    "crop_transform": tfds.features.Tensor(shape=(2, 3), dtype=np.float32),
    "landmarks": tfds.features.Tensor(shape=(None, 2), dtype=np.float32),
    "source": {"path": tfds.features.Text(), "sha256": tfds.features.Text()},
  }
  if recipe.aligned != "none":
    features |= {"propagated": image, "propagated_confidence": mask}
  if recipe.aligned == "sources":
    shape = (SOURCES_PER_FRAME, size // 2, size // 2, 2)
    features |= {
      "source_index": tfds.features.Tensor(shape=shape[:1], dtype=np.int64),
      "source_flow": tfds.features.Tensor(
        shape=shape, dtype=np.float16, encoding=tfds.features.Encoding.ZLIB
      ),
    }
  if recipe.paste is not None:
    features["target"] = image
  tfds.folder_dataset.write_metadata(
    data_dir=out,
    features=tfds.features.FeaturesDict(features),
    split_infos=[_split_info(out, *item) for item in counts.items()],
    filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    check_data=False,
  )


def _split_info(
  out: Path, split: str, lengths: list[int]
) -> tfds.core.SplitInfo:
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
