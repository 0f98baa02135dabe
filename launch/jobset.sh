#!/usr/bin/env bash
# Trains on Kubernetes as a JobSet: one pod per host, TPU or GPU.
#
#   launch/jobset.sh --name run1 --image REGISTRY/diffmvr:TAG --hosts 4
#     (--tpu v5e --topology 4x4 --chips 4 | --gpus 8) [--claim VOLUME_CLAIM]
#     [--namespace N] [--dry-run] -- \
#     --config configs/sd15_512.py --workdir /data/sd15 data.path=/data/records
#
# The image holds this project, installed with its extra `tpu` or `cuda`. All pods
# share the volume of the claim, mounted at /data. If a pod fails or is evicted,
# the whole set restarts, and the training resumes.
#
# With --sweep it runs diffmvr_jax.sweep with these arguments.
set -euo pipefail

module=diffmvr_jax.train
name='' image='' hosts=1 tpu='' topology='' chips=4 gpus='' claim='' namespace=default
dry_run=''
while (($#)); do
  case $1 in
    --name) name=$2; shift 2 ;;
    --image) image=$2; shift 2 ;;
    --hosts) hosts=$2; shift 2 ;;
    --tpu) tpu=$2; shift 2 ;;
    --topology) topology=$2; shift 2 ;;
    --chips) chips=$2; shift 2 ;;
    --gpus) gpus=$2; shift 2 ;;
    --claim) claim=$2; shift 2 ;;
    --namespace) namespace=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    --sweep) module=diffmvr_jax.sweep; shift ;;
    --) shift; break ;;
    *) echo "error: unknown option $1; arguments of the training follow --" >&2
       exit 2 ;;
  esac
done
(($#)) || { echo "error: no arguments for the training after --" >&2; exit 2; }
[[ $name && $image ]] || { echo "error: --name and --image are needed" >&2; exit 2; }
[[ $tpu || $gpus ]] || { echo "error: --tpu or --gpus is needed" >&2; exit 2; }
case $tpu in
  '') ;;
  v5e) accelerator='tpu-v5-lite-podslice' ;;
  v5p) accelerator='tpu-v5p-slice' ;;
  v6e) accelerator='tpu-v6e-slice' ;;
  *) echo "error: --tpu $tpu: expected v5e, v5p or v6e" >&2; exit 2 ;;
esac

json_string() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

manifest() {
  cat <<EOF
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
  namespace: $namespace
spec:
  failurePolicy:
    maxRestarts: 100
  replicatedJobs:
  - name: train
    replicas: 1
    template:
      spec:
        parallelism: $hosts
        completions: $hosts
        completionMode: Indexed
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
EOF
  if [[ $tpu ]]; then
    cat <<EOF
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: $accelerator
              cloud.google.com/gke-tpu-topology: $topology
EOF
  fi
  cat <<EOF
            containers:
            - name: train
              image: $image
              command: ["python", "-m", "$module"]
              args:
EOF
  for argument in "$@"; do
    echo "              - $(json_string "$argument")"
  done
  cat <<EOF
              env:
              - name: JAX_COORDINATOR_ADDRESS
                value: "$name-train-0-0.$name:8476"
              - name: JAX_NUM_PROCESSES
                value: "$hosts"
              - name: JAX_PROCESS_ID
                valueFrom:
                  fieldRef:
                    fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
              ports:
              - containerPort: 8476
              resources:
                limits:
EOF
  if [[ $tpu ]]; then
    echo "                  google.com/tpu: $chips"
  else
    echo "                  nvidia.com/gpu: $gpus"
  fi
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
}

if [[ $dry_run ]]; then
  manifest "$@"
else
  manifest "$@" | kubectl apply --filename -
fi
