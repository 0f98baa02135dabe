r"""Restoration end to end: from a decoded frame to the composited one.

  python -m benchmarks.realtime [--config configs/sd15_512.py] \
    [--video FILE --models DIR] [--frames 32] [--steps 1,2,4,8] \
    [--windows 1,4,8] [--decoders own,tiny] [--only ours|diffusers] \
    [KEY=VALUE …]

Random weights of the config's sizes; every frame but the first is occluded.
Frames come as fast as they are taken, so a frame's latency is what the window
that it is in takes, from the moment that the frame came in. Face, masks and
guidance are ready, or, with a video, found by MediaPipe as it goes ("with
detection"). FLOPs are those of the program's matrix products and convolutions.
On a GPU each side may take half of the memory. The last table times
diffusers' inpainting pipeline with the same autoencoder, a U-Net of the same
size, sampler and steps on the same frames; ours also encodes two guidance
images and pastes into the frame. The shipped model on a live stream is
measured by `benchmarks/live_stream.py`.
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.drawn_faces import DrawnFaces
from benchmarks.train_step import random_params
from data_prep.clip import Clip, Frame
from data_prep.detections import Detections
from data_prep.detectors.landmarkers import FaceDetector, HandDetector
from data_prep.prepare import RealOcclusion, SkippedFrame, prepare
from data_prep.procedural import ProceduralVideo
from data_prep.sources import array_clip
from diffmvr_jax.config import AutoencoderConfig, Config, load_config
from diffmvr_jax.data.record_codec import FrameRecord
from diffmvr_jax.diffusion.schedule import make_schedule
from diffmvr_jax.inference.crop_restorer import CropRestorer
from diffmvr_jax.inference.sampling import restore_window
from diffmvr_jax.inference.stream import (
  SourceFrame,
  StreamOptions,
  restore_stream,
)
from diffmvr_jax.media.video import read_frames
from diffmvr_jax.models.diffmvr import DiffMVR, Params
from diffmvr_jax.models.observation import Observation
from diffmvr_jax.models.tiny_vae import TinyDecoder
from diffmvr_jax.runtime.device_peaks import peak_tflops
from diffmvr_jax.runtime.flops import traced_flops

SIDE = 720  # of the frames that the crop is pasted into


def main() -> None:
  """Prints the tables in Markdown."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    "--config", type=Path, default=Path("configs/sd15_512.py")
  )
  parser.add_argument("--video", type=Path)
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  parser.add_argument("--frames", type=int, default=32)
  parser.add_argument("--steps", type=numbers, default=(1, 2, 4, 8))
  parser.add_argument("--windows", type=numbers, default=(1, 4, 8))
  parser.add_argument(
    "--decoders", default="own,tiny", help="own, tiny or both"
  )
  parser.add_argument("--only", choices=["ours", "diffusers"])
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  arguments = parser.parse_args()
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  config = load_config(arguments.config, arguments.overrides)
  size = config.data.image_size
  params = random_params(DiffMVR.of(config).shapes(size))
  tiny = tiny_decoder(config.model.autoencoder)
  shape = (1, 8, 8, tiny.latent_channels)
  params["tiny_decoder"] = {
    "decoder": TinyDecoder(tiny).init(jax.random.key(0), jnp.zeros(shape))[
      "params"
    ]
  }
  if arguments.video:
    images = [f.image for f in read_frames(arguments.video)]
    clip = array_clip(images[: arguments.frames + 1], Fraction(25))
    find_face = partial(FaceDetector, arguments.models)
    find_hands = partial(HandDetector, arguments.models)
  else:
    clip = drawn_clip(arguments.frames + 1)
    find_face, find_hands = partial(DrawnFaces, SIDE), None
  print(
    f"{jax.devices()[0].device_kind}; {size} px, {arguments.frames} frames of "
    f"{'a video' if arguments.video else 'a drawn clip'}, U-Net "
    f"{config.model.unet.block_channels}, {config.model.dtype}, "
    f"{config.sampling.sampler}; jax {jax.__version__}\n"
  )

  def frames() -> Iterator[SourceFrame]:
    records = prepare(
      clip,
      size=size,
      find_face=find_face(),
      occlusion=RealOcclusion(
        detector=Covering(find_hands() if find_hands else None)
      ),
      lookahead=0,
    )
    return map(source_frame, clip.frames(), records)

  if arguments.only != "diffusers":
    our_table(config, params, tiny, frames, arguments)
  if arguments.only != "ours":
    diffusers_table(config, params, frames, arguments)


def numbers(text: str) -> tuple[int, ...]:
  """Parses `1,4`."""
  return tuple(int(number) for number in text.split(","))


def our_table(config, params, tiny, frames, arguments) -> None:
  """Every number of steps, decoder and window."""
  ready = list(frames())
  with_detection = arguments.video is not None
  decoders = {"own": None, "tiny": tiny}
  chosen = [decoders[name] for name in arguments.decoders.split(",")]
  print(
    "| steps | decoder | window | frames/s | p50, ms | p95, ms | p99, ms "
    "| with detection, frames/s | TFLOP/frame | TFLOP/s | of peak |"
  )
  print("|---:|---|---:|" + "---:|" * 8)
  for steps in arguments.steps:
    for decoder in chosen:
      # Every frame has its own guidance, so windows of other lengths have the
      # same per frame.
      work = flops_per_frame(with_sampling(config, steps, 1), params, decoder)
      for window in arguments.windows:
        changed = with_sampling(config, steps, window)
        restorer = CropRestorer(changed, params, decoder=decoder)
        run(restorer, ready[: 2 * window + 1])  # compiles
        rate, latency = run(restorer, ready)
        found = run(restorer, frames())[0] if with_detection else None
        peak = peak_tflops(jax.devices()[0].device_kind)
        p50, p95, p99 = 1e3 * np.percentile(latency, [50, 95, 99])
        print(
          f"| {steps} | {'tiny' if decoder else 'own'} | {window} "
          f"| {rate:.2f} | {p50:.0f} | {p95:.0f} | {p99:.0f} "
          f"| {f'{found:.2f}' if found else ''} | {work / 1e12:.3f} "
          f"| {work * rate / 1e12:.2f} "
          f"| {f'{work * rate / 1e12 / peak:.0%}' if peak else ''} |",
          flush=True,
        )


def run(restorer: CropRestorer, frames) -> tuple[float, list[float]]:
  """Frames per second, and each occluded frame's latency in seconds."""
  came: list[float] = []

  def feed() -> Iterator[SourceFrame]:
    for frame in frames:
      came.append(time.perf_counter())
      yield frame

  latency = []
  started = time.perf_counter()
  stream = restore_stream(restorer, feed(), StreamOptions(latency=10**6))
  for number, done in enumerate(stream):
    if done.source.occluded:
      latency.append(time.perf_counter() - came[number])
  return len(latency) / (time.perf_counter() - started), latency


def source_frame(
  frame: Frame, record: FrameRecord | SkippedFrame
) -> SourceFrame:
  """A frame with its record; every frame must have a face."""
  assert isinstance(record, FrameRecord), record
  return SourceFrame(frame.image, frame.index, record)


def with_sampling(config: Config, steps: int, window: int) -> Config:
  """The config with other sampling."""
  sampling = dataclasses.replace(config.sampling, steps=steps, window=window)
  return dataclasses.replace(config, sampling=sampling)


def tiny_decoder(autoencoder: AutoencoderConfig) -> AutoencoderConfig:
  """TAESD's size for an autoencoder's latents."""
  return AutoencoderConfig(
    family="tiny",
    block_channels=(64,) * len(autoencoder.block_channels),
    layers_per_block=3,
    latent_channels=autoencoder.latent_channels,
    scaling_factor=1.0,
  )


def flops_per_frame(config: Config, params: Params, decoder) -> int:
  """Of the program for a window of one frame."""
  size, lead = config.data.image_size, (1, 1)

  def image(channels: int = 3) -> jax.Array:
    return jnp.zeros((*lead, size, size, channels), jnp.uint8)

  flag = jnp.ones(lead, bool)
  observation = Observation(
    frame=image(),
    mask=image(1),
    symmetric=image(),
    past=image(),
    symmetric_valid=flag,
    past_valid=flag,
  )
  program = jax.jit(
    partial(restore_window, config.model, config.sampling, decoder=decoder)
  )
  schedule = make_schedule(config.diffusion)
  key, index = jax.random.key(0), jnp.zeros(lead, jnp.int32)
  traced = program.trace(params, schedule, observation, key, index)
  return traced_flops(traced, jax.default_backend())


def diffusers_table(config, params, frames, arguments) -> None:
  """The same frames by both, in alternating rounds."""
  from benchmarks.diffusers_inpainting import Inpainting

  ready, theirs = list(frames()), Inpainting(config)
  print(
    "\n| steps | window | ours, ms/frame | diffusers, ms/frame | ratio |\n"
    "|---:|---:|---:|---:|---:|"
  )
  for steps in arguments.steps:
    for window in arguments.windows:
      restorer = CropRestorer(with_sampling(config, steps, window), params)
      # The first is the past frame of the others, and passes through.
      batch = ready[: window + 1]
      taken: tuple[list[float], list[float]] = ([], [])
      calls = (
        partial(run, restorer, batch),
        partial(theirs, batch[1:], steps),
      )
      for _ in range(4):
        for call, times in zip(calls, taken, strict=True):
          started = time.perf_counter()
          call()
          times.append(time.perf_counter() - started)
      ours, other = (
        1e3 * statistics.median(times[1:]) / window for times in taken
      )
      print(
        f"| {steps} | {window} | {ours:.0f} | {other:.0f} "
        f"| {ours / other:.2f} |",
        flush=True,
      )


def drawn_clip(count: int) -> Clip:
  """A drawn face as large as a filmed one."""
  images = [image for image, _ in ProceduralVideo(0).frames()]

  def frames() -> Iterator[Frame]:
    for i in range(count):
      image = cv2.resize(images[i % len(images)], (SIDE, SIDE))
      yield Frame(image, i, i / clip.fps)

  clip = dataclasses.replace(array_clip([], Fraction(25)), frames=frames)
  return clip


class Covering:
  """Covers the middle of all frames but the first, after a real detector."""

  overlooks = False

  def __init__(self, detector):
    self._detector = detector

  def __call__(self, image: np.ndarray, index: int) -> Detections:
    """Lets the detector look, and returns the cover."""
    if self._detector is not None:
      self._detector(image, index)
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    if index:
      mask[height // 2 : height * 2 // 3, width * 2 // 5 : width // 2] = 1
    return Detections(
      boxes=np.array([[0, 0, width, height]], np.float32),
      scores=np.ones(1, np.float32),
      masks=mask[None],
    )

  def close(self) -> None:
    """The detector goes with the process."""


if __name__ == "__main__":
  main()
