#!/usr/bin/env bash
# Runs LGVI (Wu et al. 2024, github.com/jianzongwu/Language-Driven-Video-Inpainting)
# on our clips. LGVI is told in words what to remove, and gets no mask.
#
#   launch/baselines/lgvi.sh --checkout Language-Driven-Video-Inpainting \
#     --clips CLIPS --out DIR
#
# Its program reads the first 24 frames of a clip, stretched to 512x320, and writes
# a GIF. So clips go through it in parts of 24 frames, and what it makes is scaled
# back and written without loss. Its weights must be in CHECKOUT/checkpoints/lgvi,
# and it needs xformers and a GPU. The variable EXPRESSION says what to remove;
# without it, it is the paper's sentence.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/options.sh"

expression=${EXPRESSION:-remove the hands of the baby in the scene, replace with baby face}
protocol "LGVI, no masks, 512x320 in parts of 24 frames, told: $expression"
run mkdir -p "$out"
for frames in "$clips"/frames/*/; do
  name=$(basename "$frames")
  run rm -rf "${out:?}/$name"
  run_there "$python" "$here/lgvi_parts.py" "$clips/frames/$name" "$out/$name" \
    --ckpt_path checkpoints/lgvi --expr "$expression"
done
