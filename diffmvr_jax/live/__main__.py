r"""Restores a stream as it is filmed, and shows it on a page.

  python -m diffmvr_jax.live [--source camera:0|rtsp://…|FILE|browser] \
    [sampling.detail=1 …]

Open the address that it prints. The page shows the source and its restoration
side by side. What is restored is outlined, because it is an estimate. Videos
can be dropped onto the page, or sent to POST /restore.

Only this machine is answered, unless another --host is given: then whoever
has the token that is printed. Nothing is stored unless it is recorded.
"""

import argparse
import secrets
import socket
import ssl
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from diffmvr_jax.command_line.arguments import ArgumentParser, whole
from diffmvr_jax.command_line.terminal import add_verbose_option
from diffmvr_jax.errors import InputError, run_command
from diffmvr_jax.files import refuse_special
from diffmvr_jax.inference.finding import LIVE
from diffmvr_jax.inference.restorer import Restorer
from diffmvr_jax.live.guard import is_loopback
from diffmvr_jax.live.sources import BROWSER, check_source, choices
from diffmvr_jax.pretrained import DEFAULT, PREFIX
from diffmvr_jax.runtime.compiled import keep_programs
from diffmvr_jax.runtime.cores import spare_a_core
from diffmvr_jax.runtime.cpu_memory import share_memory

# OpenSSL's words for another certificate's key; the second for another kind's.
_MISMATCH = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
_LARGEST_PICTURE = 4 * 2**20  # bytes of a frame of the browser's camera


def main(argv: list[str]) -> None:
  """Parses the arguments, and serves until Ctrl-C."""
  args = _parser().parse_args(argv)
  try:
    import uvicorn

    from diffmvr_jax.live.outlets import Reopened, opener
    from diffmvr_jax.live.server import make_app
    from diffmvr_jax.live.session import Session
    from diffmvr_jax.live.uploads import Uploads
  except ImportError as error:
    raise InputError(
      f"{error.name} is missing; pip install 'diffmvr-jax[live]'"
    ) from error
  out = None if args.out is None else Reopened(opener(args.out))
  names = args.source or [BROWSER]
  _refuse_misfits(args, names)
  token = None if is_loopback(args.host) else secrets.token_urlsafe(24)
  finding = {"models": args.models, "face": args.face}
  finding["occluder"] = args.occluder
  with ExitStack() as opened:
    listener = opened.enter_context(closing(_listen(args.host, args.port)))
    share_memory()
    spare_a_core()
    keep_programs()
    _say("getting ready …")
    chosen = args.checkpoint, args.overrides
    live = Restorer.from_checkpoint(*chosen, **LIVE, **finding)
    live.get_ready()
    restorer = Restorer.from_checkpoint(*chosen, **finding)
    # The application closes both as well, but only once it has begun.
    session = Session(live, choices(names), out)
    opened.callback(session.close)
    uploads = Uploads(restorer, session.meter, args.max_upload * 2**20)
    opened.callback(uploads.close)
    config = uvicorn.Config(
      make_app(session, uploads, token),
      log_level="warning",
      access_log=False,
      server_header=False,
      ws_max_size=_LARGEST_PICTURE,
      timeout_graceful_shutdown=3,
      ssl_certfile=args.certificate,
      ssl_keyfile=args.key,
    )
    listener.listen()  # whoever comes before the loop runs has to wait
    _say(f"open {_address(args, listener, token)} — Ctrl-C ends it")
    uvicorn.Server(config).run(sockets=[listener])


def _refuse_misfits(args: argparse.Namespace, names: list[str]) -> None:
  if (args.certificate is None) != (args.key is None):
    raise InputError("--certificate and --key belong together")
  if args.certificate is not None:
    _check_certificate(args.certificate, args.key)
  for name in names:
    check_source(name)


def _check_certificate(certificate: Path, key: Path) -> None:
  for path in (certificate, key):
    refuse_special(path)
  asked = []

  def no_password() -> str:
    asked.append(True)  # otherwise it would be asked for at the terminal
    return ""

  try:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
      certificate, key, password=no_password
    )
  except (ssl.SSLError, OSError, ValueError) as error:
    names = f"--certificate {certificate} --key {key}"
    if asked:
      why = "the key has a password; give a copy without one"
    elif getattr(error, "reason", None) in _MISMATCH:
      why = "the key is another certificate's"
    elif isinstance(error, PermissionError):
      why = "you may not read them"
    else:
      why = "no certificate and its key, in PEM files"
    raise InputError(f"{names}: {why}") from error


def _listen(host: str, port: int) -> socket.socket:
  if not host:  # the system would take it for all addresses
    raise InputError("--host: give an address, such as 127.0.0.1")
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  listener = socket.socket(family)
  listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    listener.bind((host, port))
  except (OSError, ValueError) as error:  # ValueError: no name at all
    listener.close()
    reason = getattr(error, "strerror", None) or "it is no address"
    raise InputError(
      f"--host {host} --port {port}: cannot listen there ({reason})"
    ) from error
  return listener


def _address(
  args: argparse.Namespace, listener: socket.socket, token: str | None
) -> str:
  scheme = "http" if args.certificate is None else "https"
  host = f"[{args.host}]" if ":" in args.host else args.host
  if host == "0.0.0.0":
    host = socket.gethostname()
  # What follows # is not sent, so that it is in nobody's log.
  secret = "" if token is None else f"#token={token}"
  return f"{scheme}://{host}:{listener.getsockname()[1]}/{secret}"


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _parser() -> ArgumentParser:
  parser = ArgumentParser(
    prog="python -m diffmvr_jax.live",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--source",
    action="append",
    help="browser (the default), camera:0, rtsp://…, or a video file, which is "
    "played again and again; give it several times to choose on the page",
  )
  parser.add_argument(
    "--checkpoint",
    default=f"{PREFIX}{DEFAULT}",
    metavar="DIR|pretrained:NAME",
    help=f"the model ({PREFIX}{DEFAULT})",
  )
  parser.add_argument(
    "overrides", nargs="*", metavar="KEY=VALUE", help="sampling.KEY=VALUE"
  )
  parser.add_argument("--host", default="127.0.0.1", help="(127.0.0.1)")
  parser.add_argument(
    "--port", type=whole(0, 2**16 - 1), default=8000, help="(8000)"
  )
  parser.add_argument("--certificate", type=Path, help="for https: PEM file")
  parser.add_argument("--key", type=Path, help="for https: PEM file")
  parser.add_argument(
    "--out",
    metavar="rtsp://…|virtual-camera",
    help="where the restored stream is passed on to",
  )
  parser.add_argument(
    "--max-upload",
    type=whole(1, 2**20),
    default=512,
    help="MiB of a video (512)",
  )
  parser.add_argument(
    "--face", default="mediapipe", help="or yolo:WEIGHTS.pt[#CLASS][@SCORE]"
  )
  parser.add_argument(
    "--occluder",
    help="learned, mediapipe (hands), or yolo:WEIGHTS.pt[#CLASS][@SCORE]; "
    "learned,mediapipe is both, and the default if the model has a network",
  )
  parser.add_argument("--models", help="folder of MediaPipe's .task files")
  add_verbose_option(parser)
  return parser


if __name__ == "__main__":
  run_command(main)
