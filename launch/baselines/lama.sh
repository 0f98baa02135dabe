#!/usr/bin/env bash
# Runs LaMa (Suvorov et al. 2022, github.com/advimman/lama) on our clips, frame
# by frame.
#
#   launch/baselines/lama.sh --checkout lama --clips CLIPS --out DIR
#
# LaMa's weights must be in CHECKOUT/big-lama. Its program always computes on the
# CPU, whatever there is.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

# A value of Hydra's grammar, in which many letters mean something.
quoted() {
  printf "'%s'" "${1//\'/\\\'}"
}

protocol 'LaMa (big-lama), frame by frame, masks as given'
# LaMa also looks for its pictures by a pattern, in which brackets mean something.
# So it gets links in a temporary folder, which has a plain name.
work=/tmp/lama
if [[ ! $dry_run ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
run mkdir -p "$out"
run ln -s "$checkout/big-lama" "$work/big-lama"
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  run mkdir "$work/in" "$work/out"
  # LaMa pairs X.png with X_mask001.png, and names its result like the mask.
  for frame in "$frames"*.png; do
    number=$(basename "$frame" .png)
    run ln -s "$frame" "$work/in/$number.png"
    run ln -s "$clips/masks/$name/$number.png" "$work/in/${number}_mask001.png"
  done
  run_there TORCH_HOME="$checkout" PYTHONPATH="$checkout" \
    "$python" bin/predict.py "model.path=$(quoted "$work/big-lama")" \
    "indir=$(quoted "$work/in")" "outdir=$(quoted "$work/out")" \
    dataset.img_suffix=.png
  run rm -rf "${out:?}/$name" "$work/in"
  run mv -T "$work/out" "$out/$name"
done
