#!/usr/bin/env bash
# Runs ProPainter (Zhou et al. 2023, github.com/sczhou/ProPainter) on our clips.
#
#   launch/baselines/propainter.sh --checkout ProPainter --clips CLIPS --out DIR
#
# The masks are used as they are, without the dilation that ProPainter adds by
# default.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

run mkdir -p "$out"
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  run_there "$python" inference_propainter.py \
    --video "$clips/frames/$name" --mask "$clips/masks/$name" \
    --mask_dilation 0 --save_frames --output "$out/.work"
  run mv -T "$out/.work/$name/frames" "$out/$name"
done
run rm -rf "$out/.work"
