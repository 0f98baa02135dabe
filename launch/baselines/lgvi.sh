#!/usr/bin/env bash
# Runs LGVI (Wu et al. 2024, github.com/jianzongwu/Language-Driven-Video-Inpainting)
# on our clips. LGVI is told in words what to remove, and gets no mask.
#
#   launch/baselines/lgvi.sh --checkout Language-Driven-Video-Inpainting \
#     --clips CLIPS --out DIR
#
# The variable EXPRESSION says what to remove, and MODULE names the module of the
# checkout that does it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

run mkdir -p "$out"
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  run_there "$python" -m "${MODULE:-inference_reference}" \
    --video_path "$clips/frames/$name" --ckpt_path checkpoints/lgvi \
    --expr "${EXPRESSION:-remove the hands}" --output_path "$out/$name"
done
