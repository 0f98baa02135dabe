"""MediaPipe's model files: where they are published, and their checksums."""

from pathlib import Path

from diffmvr_jax.files import find_model_file

_STORAGE = "https://storage.googleapis.com/mediapipe-models"
# SHA-256 of the versions that are known to be good.
_KNOWN = {
  "face_landmarker": {
    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
  },
  "hand_landmarker": {
    "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1",
    "1c86c5c3c700a703e2e9e6fa15877dc780353685f1eb9843b2e4f98792d570b2",
  },
}


def model_path(name: str, folder: str | Path | None = None) -> Path:
  """Finds a MediaPipe model, and fetches it if there is none.

  Args:
    name: `face_landmarker` or `hand_landmarker`.
    folder: the folder that the user names, see `diffmvr_jax.files`.

  Raises:
    InputError: the model is not in that folder, cannot be fetched, or has a
      wrong checksum.
  """
  return find_model_file(
    f"{name}.task",
    folder=folder,
    option="--models",
    source=f"{_STORAGE}/{name}/{name}/float16/1/{name}.task",
    digests=_KNOWN[name],
  )
