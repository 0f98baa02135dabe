#!/usr/bin/env bash
# Runs ProPainter (Zhou et al. 2023, github.com/sczhou/ProPainter) on our clips.
#
#   launch/baselines/propainter.sh --checkout ProPainter --clips CLIPS --out DIR
#
# Its published evaluation dilates masks 4 times and looks at 20 neighbours; so
# does this. With --as-given masks are taken as they are, with the 10 neighbours
# of its demonstration. It works from 128 px.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

need_side 128 ProPainter
if [[ $as_given ]]; then
  protocol 'ProPainter, masks as given, neighbor_length 10'
  settings=(--mask_dilation 0 --neighbor_length 10)
else
  protocol 'ProPainter, masks dilated 4 times, neighbor_length 20, as published'
  settings=(--mask_dilation 4 --neighbor_length 20)
fi
run mkdir -p "$out"
run rm -rf "$out/.work" # of a run that was stopped
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  # It takes a folder whose name ends in mp4, mov or avi for a file.
  link_as "$frames" "$out/.work/in/clip"
  run_there "$python" inference_propainter.py \
    --video "$out/.work/in/clip" --mask "$clips/masks/$name" \
    "${settings[@]}" --save_frames --output "$out/.work"
  run rm -rf "${out:?}/$name"
  run mv -T "$out/.work/clip/frames" "$out/$name"
done
run rm -rf "$out/.work"
