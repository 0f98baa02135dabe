r"""Runs the frozen encoders once: `python -m diffmvr_jax.encode --config FILE`.

  python -m diffmvr_jax.encode --config FILE --out DIR \
    init_from=START data.path=RECORDS

Writes latents and CLIP tokens of every frame of the split `train`, see
`diffmvr_jax.data.latent_cache`. A training run with `data.encoded=DIR
data.flip=False` reads them in place of the images, and runs neither autoencoder
nor CLIP.
"""

from pathlib import Path

from diffmvr_jax.command_line.arguments import ArgumentParser, whole
from diffmvr_jax.config import load_config
from diffmvr_jax.errors import run_command
from diffmvr_jax.training.encode_records import encode_records


def main(argv: list[str]) -> None:
  """Parses the arguments and encodes."""
  parser = ArgumentParser(
    prog="python -m diffmvr_jax.encode", description=__doc__
  )
  parser.add_argument("--config", type=Path, required=True)
  parser.add_argument("--out", type=Path, required=True)
  parser.add_argument(
    "--batch", type=whole(1, 2**16), default=8, help="frames at once"
  )
  parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
  args = parser.parse_args(argv)
  config = load_config(args.config, args.overrides)
  encode_records(config, args.out, args.batch)


if __name__ == "__main__":
  run_command(main)
