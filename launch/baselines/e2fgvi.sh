#!/usr/bin/env bash
# Runs E2FGVI-HQ (Li et al. 2022, github.com/MCG-NKU/E2FGVI) on our clips.
#
#   launch/baselines/e2fgvi.sh --checkout E2FGVI --clips CLIPS --out DIR
#
# E2FGVI writes compressed videos, which costs some PSNR.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

run mkdir -p "$out"
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  run_there "$python" test.py --model e2fgvi_hq \
    --ckpt release_model/E2FGVI-HQ-CVPR22.pth \
    --video "$clips/frames/$name" --mask "$clips/masks/$name"
  run mv "$checkout/results/${name}_results.mp4" "$out/$name.mp4"
done
