#!/usr/bin/env bash
# Runs E2FGVI-HQ (Li et al. 2022, github.com/MCG-NKU/E2FGVI) on our clips.
#
#   launch/baselines/e2fgvi.sh --checkout E2FGVI --clips CLIPS --out DIR
#
# Its own videos are compressed, which costs 31 to 34 dB at best; here its frames
# are written as pictures. It always dilates masks 4 times. It works from 54 px,
# and fetches SPyNet when it is first used.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

need_side 54 E2FGVI-HQ
protocol 'E2FGVI-HQ, masks dilated 4 times, as it always does'
run mkdir -p "$out"
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  link_as "$frames" "$out/.work/in/clip"
  run rm -rf "${out:?}/$name"
  run_there MPLBACKEND=Agg "$python" "$here/lossless.py" "$out/$name" test.py \
    --model e2fgvi_hq --ckpt release_model/E2FGVI-HQ-CVPR22.pth \
    --video "$out/.work/in/clip" --mask "$clips/masks/$name"
done
run rm -rf "$out/.work"
