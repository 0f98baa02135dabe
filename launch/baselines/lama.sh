#!/usr/bin/env bash
# Runs LaMa (Suvorov et al. 2022, github.com/advimman/lama) on our clips, frame
# by frame.
#
#   launch/baselines/lama.sh --checkout lama --clips CLIPS --out DIR
#
# LaMa's weights must be in CHECKOUT/big-lama.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

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
    "$python" bin/predict.py model.path="$checkout/big-lama" \
    indir="$pairs" outdir="$out/$name" dataset.img_suffix=.png
done
run rm -rf "$out/.work"
