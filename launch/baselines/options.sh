# shellcheck shell=bash disable=SC2034
# The options that the scripts of this folder share; they source this file.
#
#   --checkout DIR   the method's repository, installed as its README says
#   --clips DIR      what `python -m launch.baselines.frames` wrote
#   --out DIR        gets a folder of pictures, or a video, for every clip
#   --dry-run        prints the commands instead of running them
#
# The variable PYTHON names the interpreter of the method's own environment.

checkout='' clips='' out='' dry_run=''
while (($#)); do
  case $1 in
    --checkout) checkout=$2; shift 2 ;;
    --clips) clips=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    *) echo "error: unknown option $1" >&2; exit 2 ;;
  esac
done
for option in checkout clips out; do
  if [[ -z ${!option} ]]; then
    echo "error: --$option is missing" >&2
    exit 2
  fi
done
if [[ ! -d $clips/frames || ! -d $clips/masks ]]; then
  echo "error: $clips: no frames and masks; write them with" \
    "python -m launch.baselines.frames" >&2
  exit 2
fi
if [[ ! -d $checkout ]]; then
  echo "error: $checkout: no such folder; clone the method's repository" >&2
  exit 2
fi
python=${PYTHON:-python}
checkout=$(realpath "$checkout")
clips=$(realpath "$clips")
out=$(realpath -m "$out")

# Runs a command, or prints it.
run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Runs a command in the checkout, where these methods look for their weights.
run_there() {
  run env --chdir="$checkout" "$@"
}
