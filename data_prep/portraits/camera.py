"""What a camera makes of a scene: light, motion blur, noise, compression."""

import io

import av
import cv2
import numpy as np

_SAMPLES = 7  # most of one exposure
_BRIGHT = 215  # as far as skin is raised
_TONES = 8  # steps of a brightness of 1
_MIDDLE = 105  # the brightness that contrast leaves as it is
_KNEE = 222  # where highlights begin to be held back


class Camera:
  """The light and the camera of one clip.

  Args:
    rng: decides everything.
    frames: length of the clip.
    fps: frames per second.
    size: side of the frames in pixels.
    brightest: of the skin in the still, up to 255; light is not raised so far
      that it burns out.
  """

  def __init__(
    self,
    rng: np.random.Generator,
    frames: int,
    fps: float,
    size: int,
    brightest: float,
  ):
    self._size, self._fps = size, fps
    self._shutter = rng.uniform(0.15, 0.65)
    time = np.arange(frames) / fps
    # Some film is all but flawless: steady light, no noise, no compression.
    flawless = rng.random() < 0.25
    changing = float(rng.choice([0.25, 1.0, 2.0], p=[0.45, 0.4, 0.15]))
    changing *= 0.1 if flawless else 1.0
    self._gain = np.exp(
      rng.normal(-0.08, 0.18) + 0.045 * changing * _wander(rng, time, 0.4)
    )
    if rng.random() < 0.12 and not flawless:  # a lamp is turned on, a cloud
      edge = 1 / (1 + np.exp(-(time - rng.uniform(0, time[-1])) / 0.08))
      self._gain *= np.exp(rng.normal(0, 0.15) * edge)
    most = max(1.0, _BRIGHT / max(brightest, 1.0))
    self._gain *= min(1.0, most / float(self._gain.max()))
    self._gamma = np.exp(
      rng.normal(0, 0.08) + 0.015 * changing * _wander(rng, time, 0.3)
    )
    warmth = rng.normal(0, 0.05) + 0.012 * changing * _wander(rng, time, 0.3)
    tint = rng.normal(0, 0.015)
    # Film is often paler than a portrait, in contrast and in colour.
    contrast = float(rng.choice([1.0, rng.uniform(0.65, 0.95)]))
    self._curves = [_curve(gamma, contrast) for gamma in self._gamma]
    colourful = float(rng.choice([1.0, rng.uniform(0.6, 1.15)]))
    grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    self._saturation = colourful * np.eye(3) + (1 - colourful) * grey
    self._colour = np.exp(np.stack([warmth, 0 * warmth + tint, -warmth], 1))
    self._shade_size = rng.uniform(0.02, 0.14) * changing**0.5
    self._shade = rng.normal(size=(4, 3, 3)).astype(np.float32)
    self._shade_rate = rng.uniform(0.1, 0.6)
    self._shade_phase = rng.uniform(0, 2 * np.pi, 4)
    self._time = time
    self._blur = float(rng.choice([0.0, rng.uniform(0.3, 1.6)], p=[0.4, 0.6]))
    self._focus = np.clip(0.5 * _wander(rng, time, 0.5), 0, 0.7)
    self._focus *= rng.random() < 0.2
    self._noise = float(
      rng.choice([0.5, 1.5, 3.0, 5.0], p=[0.3, 0.4, 0.2, 0.1])
    )
    self._noise *= 0.2 if flawless else 1.0
    grain = rng.normal(size=(size + 64, size + 64, 3)).astype(np.float32)
    # Film from phones is denoised: its noise is smooth, and mostly grey.
    grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.35, 0.9))
    grain += 1.2 * grain.mean(axis=2, keepdims=True)
    self._grain = grain / grain.std()
    self._offsets = rng.integers(0, 64, (frames, 2))
    self._codec = str(rng.choice(["x264", "jpeg", "none"], p=[0.5, 0.35, 0.15]))
    self._finest = 12 if flawless else 18  # x264's rate factor
    self._loss = rng.uniform(0, 0.3 if flawless else 1.0)

  def exposed(
    self, image: np.ndarray, speed: np.ndarray, index: int
  ) -> np.ndarray:
    """Frame `index` as the sensor sees it.

    Args:
      image: (size, size, 3) float32, sharp, in [0, 255].
      speed: (size, size, 2) float32, in pixels per frame.
      index: of the frame.

    Returns:
      (size, size, 3) uint8.
    """
    image = self._smeared(image, speed)
    blur = np.hypot(self._blur, self._focus[index]) * self._size / 256
    if blur > 0.2:
      image = cv2.GaussianBlur(image, (0, 0), blur)
    colour = self._gain[index] * self._colour[index][:, None]
    image = cv2.transform(image, (colour * self._saturation).astype(np.float32))
    phases = np.sin(
      2 * np.pi * self._shade_rate * self._time[index] + self._shade_phase
    ).astype(np.float32)
    shade = 1 + self._shade_size * np.tensordot(phases, self._shade, 1)
    shade = cv2.resize(shade, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    shades = cv2.merge([shade] * 3)
    image = cv2.multiply(image, shades, scale=_TONES, dtype=cv2.CV_32F)
    tones = np.clip(image, 0, len(self._curves[0]) - 1).astype(np.uint16)
    image = np.take(self._curves[index], tones)
    y, x = self._offsets[index]
    grain = self._grain[y : y + self._size, x : x + self._size]
    # Darker parts of a picture are noisier.
    image = image + self._noise * (1.3 - image / np.float32(330)) * grain
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)

  def developed(self, images: list[np.ndarray]) -> list[np.ndarray]:
    """Compresses a clip, and decodes it again."""
    if self._codec == "x264" and self._size % 2 == 0:
      return _through_x264(images, self._fps, self._finest + 13 * self._loss)
    if self._codec == "jpeg":
      return [_through_jpeg(image, 95 - 40 * self._loss) for image in images]
    return images

  def _smeared(self, image: np.ndarray, speed: np.ndarray) -> np.ndarray:
    fastest = float(np.abs(speed).max()) * self._shutter
    if fastest < 1.2:
      return image
    speed = cv2.blur(speed, (9, 9))
    count = int(np.clip(np.ceil(fastest), 2, _SAMPLES))
    x, y = np.meshgrid(np.arange(self._size), np.arange(self._size))
    x, y = x.astype(np.float32), y.astype(np.float32)
    total = np.zeros_like(image)
    for step in (np.arange(count) + 0.5) / count - 0.5:
      share = np.float32(step * self._shutter)
      total += cv2.remap(
        image,
        x + share * speed[..., 0],
        y + share * speed[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
      )
    return total / np.float32(count)


def _curve(gamma: float, contrast: float) -> np.ndarray:
  """Brightness on film of light in steps of 1 / `_TONES`."""
  light = np.arange(512 * _TONES) / _TONES
  burnt = np.clip(light - _KNEE, 0, None)
  held = np.minimum(light, _KNEE)
  held += (255 - _KNEE) * (1 - np.exp(burnt / (_KNEE - 255)))
  bright = 255 * (held / 255) ** gamma
  return (_MIDDLE + contrast * (bright - _MIDDLE)).astype(np.float32)


def _through_jpeg(image: np.ndarray, quality: float) -> np.ndarray:
  options = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]
  _, data = cv2.imencode(".jpg", image[..., ::-1], options)
  picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
  assert picture is not None
  return np.ascontiguousarray(picture[..., ::-1])


def _through_x264(
  images: list[np.ndarray], fps: float, crf: float
) -> list[np.ndarray]:
  """Encodes with a random-quality x264 and decodes again."""
  memory = io.BytesIO()
  with av.open(memory, "w", format="matroska") as container:
    stream = container.add_stream("libx264", rate=round(fps))
    stream.height, stream.width = images[0].shape[:2]
    stream.pix_fmt = "yuv420p"
    # One thread: the same bytes everywhere.
    stream.options = {"crf": f"{crf:.1f}", "preset": "veryfast", "threads": "1"}
    stream.thread_count = 1
    for image in images:
      container.mux(
        stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
      )
    container.mux(stream.encode())
  memory.seek(0)
  with av.open(memory, "r") as encoded:
    return [
      frame.to_ndarray(format="rgb24") for frame in encoded.decode(video=0)
    ]


def _wander(
  rng: np.random.Generator, time: np.ndarray, rate: float
) -> np.ndarray:
  """(f,): smooth noise of unit variance."""
  rates = rate * rng.uniform(0.2, 1.5, 6)
  phases = rng.uniform(0, 2 * np.pi, 6)
  angle = 2 * np.pi * rates * time[:, None] + phases
  return np.sqrt(2 / 6) * np.sin(angle).sum(1)
