#!/usr/bin/env bash
# Restores, prepares or scores many videos on a Ray cluster that this starts,
# on Slurm or on Kubernetes, and that ends with the work.
#
#   launch/ray.sh slurm --nodes 4 --cpus 32 [--gpus 8] [--time 24:00:00]
#     [--partition P] [--account A] [--dry-run] -- \
#     restore /shared/videos --out /shared/restored
#   launch/ray.sh kubernetes --name r1 --image REGISTRY/diffmvr:TAG --nodes 4
#     --cpus 32 --memory 64Gi [--gpus 8] [--claim VOLUME_CLAIM] [--namespace N]
#     [--service-account A] [--dry-run] -- \
#     restore gs://BUCKET/videos --out gs://BUCKET/restored
#
# CPUs, GPUs and memory are those of one node. After -- comes restore, export or
# evaluate, with the arguments of diffmvr_jax.restore, `data_prep export` or
# diffmvr_jax.evaluate; --engine ray is added. All nodes have this project, with
# its extra `ray`, and the videos at the same paths: in a bucket, with the extra
# `buckets`, or on a shared volume, which a claim mounts at /data.
set -euo pipefail

where=${1:-}
case $where in
  slurm | kubernetes) shift ;;
  *) echo "error: expected slurm or kubernetes first" >&2; exit 2 ;;
esac
nodes=1 cpus='' gpus=0 time=24:00:00 partition='' account=''
name='' image='' memory='' claim='' account_of_pods='' namespace=default
dry_run=''
while (($#)); do
  case $where$1 in
    *--nodes) nodes=$2; shift 2 ;;
    *--cpus) cpus=$2; shift 2 ;;
    *--gpus) gpus=$2; shift 2 ;;
    slurm--time) time=$2; shift 2 ;;
    slurm--partition) partition=$2; shift 2 ;;
    slurm--account) account=$2; shift 2 ;;
    kubernetes--name) name=$2; shift 2 ;;
    kubernetes--image) image=$2; shift 2 ;;
    kubernetes--memory) memory=$2; shift 2 ;;
    kubernetes--claim) claim=$2; shift 2 ;;
    kubernetes--namespace) namespace=$2; shift 2 ;;
    kubernetes--service-account) account_of_pods=$2; shift 2 ;;
    *--dry-run) dry_run=1; shift ;;
    *--) shift; break ;;
    *) echo "error: unknown option $1 for $where; the command follows --" >&2
       exit 2 ;;
  esac
done
needed=(cpus)
[[ $where == kubernetes ]] && needed+=(name image memory)
for option in "${needed[@]}"; do
  [[ ${!option} ]] || { echo "error: --$option is needed" >&2; exit 2; }
done
case ${1:-} in
  restore | evaluate) module="diffmvr_jax.$1"; shift ;;
  export) module=data_prep ;;
  *) echo "error: expected restore, export or evaluate after --" >&2; exit 2 ;;
esac
command=$(printf '%q ' "${PYTHON:-python}" -m "$module" "$@" --engine ray)
command=${command% }

slurm_job() {
  cat <<EOF
#!/usr/bin/env bash
#SBATCH --job-name=diffmvr
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=$cpus
#SBATCH --time=$time
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --output=diffmvr-%j.log
#SBATCH --open-mode=append
EOF
  ((gpus)) && echo "#SBATCH --gpus-per-node=$gpus"
  [[ $partition ]] && echo "#SBATCH --partition=$partition"
  [[ $account ]] && echo "#SBATCH --account=$account"
  cat <<EOF
set -euo pipefail
cd $(printf '%q' "$PWD")
head=\$(scontrol show hostnames "\$SLURM_JOB_NODELIST" | head -n 1)
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600 RAY_USAGE_STATS_ENABLED=0
srun --cpus-per-task=$cpus --kill-on-bad-exit=0 \\
  ray symmetric-run --address "\$head:6379" --min-nodes $nodes \\
  --num-cpus $cpus --num-gpus $gpus -- \\
  $command
EOF
}

json_string() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

pod() { # indentation, CPUs, GPUs
  local lines
  lines=$(
    cat <<EOF
template:
  spec:
    ${account_of_pods:+serviceAccountName: $account_of_pods
    }containers:
    - name: ray
      image: $image
      env:
      - name: RAY_USAGE_STATS_ENABLED
        value: "0"
      resources:
        limits:
          cpu: "$2"
          memory: $memory
EOF
    (($3)) && echo "          nvidia.com/gpu: $3"
    if [[ $claim ]]; then
      cat <<EOF
      volumeMounts:
      - name: data
        mountPath: /data
    volumes:
    - name: data
      persistentVolumeClaim:
        claimName: $claim
EOF
    fi
  )
  echo "${lines//$'\n'/$'\n'$1}" | sed "1s/^/$1/"
}

ray_job() {
  cat <<EOF
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: $name
  namespace: $namespace
spec:
  entrypoint: $(json_string "$command")
  shutdownAfterJobFinishes: true
  backoffLimit: 2
  rayClusterSpec:
    headGroupSpec:
      rayStartParams:
        num-cpus: "0"
        num-gpus: "0"
$(pod '      ' 2 0)
    workerGroupSpecs:
    - groupName: workers
      replicas: $nodes
      minReplicas: $nodes
      maxReplicas: $nodes
      rayStartParams: {}
$(pod '      ' "$cpus" "$gpus")
EOF
}

if [[ $where == slurm ]]; then
  if [[ $dry_run ]]; then slurm_job; else slurm_job | sbatch; fi
elif [[ $dry_run ]]; then
  ray_job
else
  ray_job | kubectl apply --filename -
fi
