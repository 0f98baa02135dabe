#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice, and starts again after a preemption.
#
#   launch/tpu_pod.sh --name run1 --zone us-central1-a --type v5litepod-256
#     --version v2-alpha-tpuv5-lite --bucket BUCKET [--project P] [--spot]
#     [--dry-run] -- \
#     --config configs/sd15_512.py --workdir /data/sd15 data.path=/data/records
#
# The script creates the slice, or uses it if it exists. It copies the committed
# state of this repository to every worker and installs it, and mounts the bucket
# at /data with gcsfuse. The training runs on all workers; its log is shown here
# and kept in NAME.log. If the slice is preempted, the script deletes it and
# creates a new one, and the training resumes from the bucket. Afterwards the
# slice stays: delete it yourself.
#
# With --sweep it runs diffmvr_jax.sweep with these arguments.
set -euo pipefail

module=diffmvr_jax.train
name='' zone='' type='' version='' bucket='' project='' spot='' dry_run=''
while (($#)); do
  case $1 in
    --name) name=$2; shift 2 ;;
    --zone) zone=$2; shift 2 ;;
    --type) type=$2; shift 2 ;;
    --version) version=$2; shift 2 ;;
    --bucket) bucket=$2; shift 2 ;;
    --project) project=$2; shift 2 ;;
    --spot) spot=1; shift ;;
    --dry-run) dry_run=1; shift ;;
    --sweep) module=diffmvr_jax.sweep; shift ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; arguments of the training follow --" >&2
       exit 2 ;;
  esac
done
(($#)) || { echo "error: no arguments for the training after --" >&2; exit 2; }
for option in name zone type version bucket; do
  [[ ${!option} ]] || { echo "error: --$option is needed" >&2; exit 2; }
done

where=("--zone=$zone")
[[ $project ]] && where+=("--project=$project")
create=("$name" "${where[@]}" "--accelerator-type=$type" "--version=$version")
[[ $spot ]] && create+=(--spot)
archive=/tmp/diffmvr-$name.tar.gz

run() {
  if [[ $dry_run ]]; then
    printf '+'
    printf ' %q' "$@"
    echo
  else
    "$@"
  fi
}
tpu() { run gcloud compute tpus tpu-vm "$@"; }
on_all() { tpu ssh "$name" "${where[@]}" --worker=all "--command=$1"; }

state() {
  # A dry run does not ask: it shows what happens if there is no slice yet.
  [[ $dry_run ]] && return
  gcloud compute tpus tpu-vm describe "$name" "${where[@]}" \
    '--format=value(state)' 2>/dev/null || true
}

prepare() {
  case $(state) in
    READY) ;;
    '') tpu create "${create[@]}" ;;
    *) tpu delete "$name" "${where[@]}" --quiet; tpu create "${create[@]}" ;;
  esac
  run git archive --format=tar.gz "--output=$archive" HEAD
  tpu scp "$archive" "$name:diffmvr.tar.gz" "${where[@]}" --worker=all
  on_all "mkdir -p diffmvr && tar -xzf diffmvr.tar.gz -C diffmvr && cd diffmvr \
&& python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[tpu]' \
&& sudo mkdir -p /data && sudo chown \"\$USER\" /data \
&& (mountpoint -q /data || gcsfuse --implicit-dirs $bucket /data)"
}

training="cd diffmvr && DIFFMVR_DISTRIBUTED=1 .venv/bin/python -u -m \
$module$(printf ' %q' "$@")"
prepare
if [[ $dry_run ]]; then
  on_all "$training"
  echo "# if the slice is preempted: all of this again, with a new slice"
  exit
fi
until on_all "$training" 2>&1 | tee -a "$name.log"; do
  if [[ $(state) == READY ]]; then
    echo "error: the training failed, the slice is healthy; see $name.log" >&2
    exit 1
  fi
  echo "the slice was preempted; making a new one" >&2
  prepare
done
