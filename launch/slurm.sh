#!/usr/bin/env bash
# Submits a training run on nodes of a SLURM cluster, one process per GPU.
#
#   launch/slurm.sh --nodes 2 --gpus 8 [--time 24:00:00] [--partition P]
#     [--account A] [--dry-run] -- \
#     --config configs/sd15_512.py --workdir /shared/sd15 data.path=/shared/data
#
# SLURM tells JAX which processes there are. Five minutes before the time is up,
# or if the job is preempted, SIGTERM makes the training save and end. The job
# then goes back into the queue, and resumes when it runs again. The workdir must
# be on a file system that all nodes share.
#
# With --sweep it runs diffmvr_jax.sweep with these arguments.
set -euo pipefail

module=diffmvr_jax.train
nodes=1 gpus=8 time=24:00:00 partition='' account='' dry_run=''
while (($#)); do
  case $1 in
    --nodes) nodes=$2; shift 2 ;;
    --gpus) gpus=$2; shift 2 ;;
    --time) time=$2; shift 2 ;;
    --partition) partition=$2; shift 2 ;;
    --account) account=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    --sweep) module=diffmvr_jax.sweep; shift ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; arguments of the training follow --" >&2
       exit 2 ;;
  esac
done
(($#)) || { echo "error: no arguments for the training after --" >&2; exit 2; }

job() {
  cat <<EOF
#!/usr/bin/env bash
#SBATCH --job-name=diffmvr
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=$gpus
#SBATCH --gpus-per-task=1
#SBATCH --time=$time
#SBATCH --requeue
#SBATCH --signal=B:TERM@300
#SBATCH --output=diffmvr-%j.log
#SBATCH --open-mode=append
EOF
  [[ $partition ]] && echo "#SBATCH --partition=$partition"
  [[ $account ]] && echo "#SBATCH --account=$account"
  cat <<EOF
set -uo pipefail
cd $(printf '%q' "$PWD")
stopped=
stop() { stopped=1; scancel --signal=TERM --full "\$SLURM_JOB_ID"; }
trap stop TERM
srun --kill-on-bad-exit=1 ${PYTHON:-python} -m $module $(printf '%q ' "$@")&
wait \$!
code=\$?
if [[ \$stopped ]]; then
  wait
  scontrol requeue "\$SLURM_JOB_ID"
fi
exit \$code
EOF
}

if [[ $dry_run ]]; then
  job "$@"
else
  job "$@" | sbatch
fi
