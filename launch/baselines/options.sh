# shellcheck shell=bash disable=SC2034
# The options that the scripts of this folder share; they source this file.
#
#   --checkout DIR   the method's repository, installed as its README says
#   --clips DIR      what `python -m launch.baselines.frames` wrote
#   --out DIR        gets a folder of pictures for every clip, and PROTOCOL.txt,
#                    which `diffmvr_jax.evaluate` shows beside the numbers
#   --as-given       masks and settings as they are, not by the method's own
#                    published protocol, where the two differ
#   --dry-run        prints the commands instead of running them
#
# The variable PYTHON names the interpreter of the method's own environment.

checkout='' clips='' out='' dry_run='' as_given=''
while (($#)); do
  case $1 in
    --checkout | --clips | --out)
      if (($# < 2)); then
        echo "error: $1 needs a folder" >&2
        exit 2
      fi
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --as-given) as_given=1; shift ;;
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
# The commands run in the checkout, so a path has to be a whole one. Links stay:
# an environment is found by the place of its interpreter.
[[ $python == */* ]] && python=$(realpath -s "$python")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
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

# Says by which protocol the numbers are made.
protocol() {
  if [[ $dry_run ]]; then
    echo "# $1"
  else
    mkdir -p "$out"
    echo "$1" >"$out/PROTOCOL.txt"
  fi
}

# Refuses clips with a side below $1 pixels.
need_side() {
  local frames first sides
  for frames in "$clips"/frames/*/; do
    first=$(find "$frames" -name '*.png' | sort | head -n 1)
    # Width and height stand in bytes 16 to 23 of a PNG.
    read -ra sides < <(od -An -tu1 -j16 -N8 "$first")
    local width=$((sides[2] * 256 + sides[3]))
    local height=$((sides[6] * 256 + sides[7]))
    if ((width < $1 || height < $1)); then
      echo "error: $frames: is ${width}x$height; $2 works from $1 px" >&2
      exit 2
    fi
  done
}

# Links a clip's folder $1 under a name $2 that no method takes for a file's.
link_as() {
  run mkdir -p "$(dirname "$2")"
  run ln -sfn "${1%/}" "$2"
}
