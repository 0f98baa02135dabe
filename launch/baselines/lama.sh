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
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  pairs=$out/.work/$name
  run mkdir -p "$pairs" "$out/$name"
  # LaMa pairs X.png with X_mask001.png, and names its result like the mask.
  for frame in "$frames"*.png; do
    number=$(basename "$frame" .png)
    run ln -sf "$frame" "$pairs/$number.png"
    run ln -sf "$clips/masks/$name/$number.png" "$pairs/${number}_mask001.png"
  done
  run_there TORCH_HOME="$checkout" PYTHONPATH="$checkout" \
    "$python" bin/predict.py "model.path=$(quoted "$checkout/big-lama")" \
    "indir=$(quoted "$pairs")" "outdir=$(quoted "$out/$name")" \
    dataset.img_suffix=.png
done
run rm -rf "$out/.work"
