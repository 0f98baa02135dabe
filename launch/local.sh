#!/usr/bin/env bash
# Trains in several processes on this machine, one per GPU or group of GPUs.
#
#   launch/local.sh --processes 4 [--port 12321] [--dry-run] -- \
#     --config configs/sd15_512.py --workdir runs/sd15 data.path=records
#
# Process i gets GPU i. If CUDA_VISIBLE_DEVICES is set, even to nothing, every
# process gets that value instead. If one process fails, the others are stopped,
# and the launcher ends with the code of the process that failed.
#
# With --sweep it runs diffmvr_jax.sweep with these arguments.
set -euo pipefail

module=diffmvr_jax.train
processes=1 port=12321 dry_run=''
while (($#)); do
  case $1 in
    --processes) processes=$2; shift 2 ;;
    --port) port=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    --sweep) module=diffmvr_jax.sweep; shift ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; arguments of the training follow --" >&2
       exit 2 ;;
  esac
done
(($#)) || { echo "error: no arguments for the training after --" >&2; exit 2; }

python=${PYTHON:-python}
pids=()
for ((i = 0; i < processes; i++)); do
  environment=(
    "JAX_COORDINATOR_ADDRESS=localhost:$port"
    "JAX_NUM_PROCESSES=$processes"
    "JAX_PROCESS_ID=$i"
    "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-$i}"
  )
  if [[ $dry_run ]]; then
    printf '%q ' env "${environment[@]}" "$python" -m "$module" "$@"
    echo '&'
  else
    env "${environment[@]}" "$python" -m "$module" "$@" &
    pids+=($!)
  fi
done
[[ $dry_run ]] && exit

trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT INT TERM
for ((i = 0; i < processes; i++)); do
  wait -n
done
