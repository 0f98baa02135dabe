"""Measures a trained model, or a restored video, against the truth.

  python -m diffmvr_jax.evaluate --checkpoint DIR --data DIR --out DIR
  python -m diffmvr_jax.evaluate --prediction P --target T [--mask M]

The first restores the held-out clips of a data set with the model and with
training-free baselines, and writes `metrics.json`, `sheet.png`,
`restored.mp4` and `report.html`. The second compares video files.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from diffmvr_jax.data.records import RecordSource, write_atomically
from diffmvr_jax.data.windows import Window, read_frames
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.inference import video
from diffmvr_jax.inference.baselines import BASELINES
from diffmvr_jax.inference.restorer import CropRestorer
from diffmvr_jax.metrics.report import table, verdict, write_report
from diffmvr_jax.metrics.score import Scores, average, score_clip
from diffmvr_jax.metrics.sheet import contact_sheet

MODEL = "DiffMVR"
_SHEET_COLUMNS = 10
_VIDEO_TILE = 256  # pixels


def evaluate_records(
  checkpoint: Path, data: Path, split: str, out: Path, seed: int
) -> dict:
  """Restores and scores every clip of a split; writes the four files.

  Returns:
    What `metrics.json` holds.

  Raises:
    InputError: no checkpoint, no such split, or records without targets.
  """
  restorer = CropRestorer.from_checkpoint(checkpoint)
  records = RecordSource(data, split)
  methods: dict[str, Callable[[Window], np.ndarray]] = {
    MODEL: lambda clip: restorer(clip, seed),
    **BASELINES,
  }
  scores: dict[str, dict[str, Scores]] = {name: {} for name in methods}
  shown: list[tuple[Window, np.ndarray]] = []
  seconds = frames = 0.0
  videos = list(records.videos())
  for video_id, positions in tqdm(
    videos, desc="restore", unit="video", file=sys.stderr
  ):
    clip = read_frames(records, list(positions))
    if "target" not in clip:
      raise InputError(f"{data}: records without a target cannot be scored")
    for name, restore in methods.items():
      start = time.perf_counter()
      restored = restore(clip)
      if name == MODEL:
        shown.append((clip, restored))
        # The first clip pays for compilation.
        if len(shown) > 1:
          seconds += time.perf_counter() - start
          frames += clip["mask"].any((1, 2, 3)).sum()
      scores[name][video_id] = score_clip(
        restored, clip["target"], clip["mask"]
      )
  results = {name: average(clips.values()) for name, clips in scores.items()}
  out.mkdir(parents=True, exist_ok=True)
  config = restorer.config
  conditions = {
    "model": f"{config.name}: {config.diffusion_stage.steps} steps of training,"
    f" {config.sampling.steps} of {config.sampling.sampler}",
    "data": f"{len(videos)} held-out clips, {int(results[MODEL]['frames'])} "
    f"occluded frames, {config.data.image_size} px",
    "device": f"{jax.devices()[0].device_kind}, {config.model.dtype}, "
    f"jax {jax.__version__}",
    "seed": str(seed),
  }
  if frames:
    conditions["speed"] = (
      f"{frames / seconds:.1f} restored frames/s in this run, one run, "
      "compilation excluded"
    )
  metrics = {
    "conditions": conditions,
    "average": results,
    "verdict": verdict(MODEL, results),
    "videos": scores,
  }
  write_atomically(out / "metrics.json", json.dumps(metrics, indent=2))
  _write_sheet(out / "sheet.png", shown)
  _write_video(out / "restored.mp4", shown)
  write_report(
    out / "report.html",
    title=f"{config.name}: restoration of held-out clips",
    model=MODEL,
    methods=results,
    conditions=conditions,
    video=out / "restored.mp4",
    sheet=out / "sheet.png",
  )
  return metrics


def evaluate_videos(
  prediction: Path, target: Path, mask: Path | None
) -> Scores:
  """Scores a restored video file.

  Args:
    prediction: the restored video.
    target: the truth.
    mask: a video, white on the occlusion; None counts every pixel.

  Raises:
    InputError: a file is no video, or sizes or lengths differ.
  """
  restored, truth = _read(prediction), _read(target)
  masks = np.ones((*truth.shape[:3], 1), np.uint8)
  if mask is not None:
    masks = (_read(mask)[..., :1] > 127).astype(np.uint8)
  for path, other in ((prediction, restored), (mask, masks)):
    if other.shape[:3] != truth.shape[:3]:
      raise InputError(
        f"{path}: {other.shape[:3]} frames × height × width, but {target} has "
        f"{truth.shape[:3]}"
      )
  return score_clip(restored, truth, masks)


def _read(path: Path) -> np.ndarray:
  frames = [frame.image for frame in video.read_frames(path)]
  if not frames:
    raise InputError(f"{path}: no frame can be decoded")
  return np.stack(frames)


def _write_sheet(path: Path, shown: list[tuple[Window, np.ndarray]]) -> None:
  """Shows occluded frames spread over the clips."""
  candidates = [
    (clip, restored, int(i))
    for clip, restored in shown
    for i in np.flatnonzero(clip["mask"].mean((1, 2, 3)) > 0.03)
  ]
  count = min(_SHEET_COLUMNS, len(candidates))
  chosen = [
    candidates[int(k)] for k in np.linspace(0, len(candidates) - 1, count)
  ]
  if not chosen:
    raise InputError("no clip has a frame with more than 3 % occluded")
  rows = {
    "input": [clip["frame"][i] for clip, _, i in chosen],
    "mask": [clip["mask"][i] * np.uint8(255) for clip, _, i in chosen],
    "symmetric": [clip["symmetric"][i] for clip, _, i in chosen],
    "past": [clip["past"][i] for clip, _, i in chosen],
    "restored": [restored[i] for _, restored, i in chosen],
    "target": [clip["target"][i] for clip, _, i in chosen],
  }
  contact_sheet(rows).save(path)


def _write_video(path: Path, shown: list[tuple[Window, np.ndarray]]) -> None:
  """Input, restored and target side by side, one clip after the other."""
  size = shown[0][0]["frame"].shape[1]
  zoom = max(1, _VIDEO_TILE // size)
  info = video.VideoInfo(
    width=3 * size * zoom,
    height=size * zoom,
    fps=Fraction(25),
    time_base=Fraction(1, 25),
    has_audio=False,
  )
  pts = 0
  with video.VideoWriter(path, info) as writer:
    for clip, restored in shown:
      for triple in zip(clip["frame"], restored, clip["target"], strict=True):
        row = np.concatenate(triple, axis=1)
        row = row.repeat(zoom, axis=0).repeat(zoom, axis=1)
        writer.write(video.TimedFrame(row, pts))
        pts += 1


def main(argv: list[str]) -> None:
  """Parses the arguments and evaluates."""
  parser = argparse.ArgumentParser(
    prog="python -m diffmvr_jax.evaluate",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--checkpoint", type=Path, help="workdir of the training")
  parser.add_argument("--data", type=Path, help="folder of records")
  parser.add_argument("--split", default="test")
  parser.add_argument("--out", type=Path, help="folder for the four files")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--prediction", type=Path, help="restored video")
  parser.add_argument("--target", type=Path, help="true video")
  parser.add_argument("--mask", type=Path, help="video, white on the occlusion")
  args = parser.parse_args(argv)
  if args.checkpoint and args.data and args.out:
    metrics = evaluate_records(
      args.checkpoint, args.data, args.split, args.out, args.seed
    )
    print(table(metrics["average"]))
    print("\n".join(metrics["verdict"]))
  elif args.prediction and args.target:
    scores = evaluate_videos(args.prediction, args.target, args.mask)
    print(json.dumps(scores, indent=2))
  else:
    raise InputError(
      "give either --checkpoint, --data and --out, or --prediction and --target"
    )


if __name__ == "__main__":
  run_command(main)
