"""What the launchers would do, and what they refuse."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
TRAINING = ["--config", "configs/x.py", "--workdir", "a folder", 'k="v"']


def launch(script, *options, training=TRAINING, **environment):
  return subprocess.run(
    ["bash", LAUNCH / script, *options, "--dry-run", "--", *training],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {"PYTHON": "python"} | environment,
  )


def words(line):
  return shlex.split(line)


def test_local_processes_know_each_other():
  run = launch("local.sh", "--processes", "3", "--port", "999")
  lines = [words(line) for line in run.stdout.splitlines()]
  assert len(lines) == 3
  for i, line in enumerate(lines):
    assert line == [
      "env",
      "JAX_COORDINATOR_ADDRESS=localhost:999",
      "JAX_NUM_PROCESSES=3",
      f"JAX_PROCESS_ID={i}",
      f"CUDA_VISIBLE_DEVICES={i}",
      *("python", "-m", "diffmvr_jax.train", *TRAINING),
      "&",
    ]


@pytest.mark.parametrize(
  ("script", "options"),
  [
    ("local.sh", []),
    ("slurm.sh", []),
    ("jobset.sh", ["--name", "a", "--image", "b", "--gpus", "8"]),
    (
      "tpu_pod.sh",
      [
        *("--name", "a", "--zone", "b", "--type", "c", "--version", "d"),
        *("--bucket", "e"),
      ],
    ),
  ],
)
def test_sweeps_are_started_like_trainings(script, options):
  training = launch(script, *options).stdout
  sweep = launch(script, *options, "--sweep").stdout
  assert "diffmvr_jax.train" in training
  assert sweep == training.replace("diffmvr_jax.train", "diffmvr_jax.sweep")


def test_local_ends_with_the_code_of_the_process_that_failed(tmp_path):
  python = tmp_path / "python"
  python.write_text(
    '#!/bin/sh\n[ "$JAX_PROCESS_ID" = 1 ] && exit 7\nexec sleep 60\n'
  )
  python.chmod(0o755)
  run = subprocess.run(
    ["bash", LAUNCH / "local.sh", "--processes", "2", "--", "--config", "x"],
    env=os.environ | {"PYTHON": str(python)},
    timeout=20,
    check=False,
  )
  assert run.returncode == 7


def test_slurm_asks_for_nodes_and_gpus_and_requeues():
  run = launch("slurm.sh", *["--nodes", "3", "--gpus", "4", "--partition", "p"])
  lines = run.stdout.splitlines()
  for setting in (
    "--nodes=3",
    "--ntasks-per-node=4",
    "--gpus-per-task=1",
    "--partition=p",
    "--signal=B:TERM@300",
    "--requeue",
  ):
    assert f"#SBATCH {setting}" in lines
  assert not any("--account" in line for line in lines)
  (command,) = [line for line in lines if line.startswith("srun")]
  assert words(command.removesuffix("&")) == [
    *("srun", "--kill-on-bad-exit=1", "python", "-m", "diffmvr_jax.train"),
    *TRAINING,
  ]
  # What is submitted is a script that bash can read.
  subprocess.run(["bash", "-n"], input=run.stdout, text=True, check=True)


@pytest.mark.parametrize(
  ("options", "resource", "selector"),
  [
    (
      "--tpu v5e --topology 4x4",
      {"google.com/tpu": 4},
      {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
      },
    ),
    ("--gpus 8", {"nvidia.com/gpu": 8}, None),
  ],
)
def test_the_job_set_is_one_pod_per_host(options, resource, selector):
  common = ["--name", "r", "--image", "i:1", "--hosts", "4", "--claim", "c"]
  run = launch("jobset.sh", *common, *options.split())
  job = yaml.safe_load(run.stdout)
  assert job["kind"] == "JobSet"
  spec = job["spec"]["replicatedJobs"][0]["template"]["spec"]
  assert spec["completions"] == spec["parallelism"] == 4
  pod = spec["template"]["spec"]
  assert pod.get("nodeSelector") == selector
  (container,) = pod["containers"]
  assert container["args"] == TRAINING
  assert container["resources"]["limits"] == resource
  environment = {e["name"]: e.get("value") for e in container["env"]}
  assert environment["JAX_NUM_PROCESSES"] == "4"
  assert environment["JAX_COORDINATOR_ADDRESS"] == "r-train-0-0.r:8476"
  assert "JAX_PROCESS_ID" in environment


def test_a_tpu_pod_is_made_copied_to_and_run_on():
  options = "--name r --zone z --type v5litepod-16 --version v --bucket b"
  run = launch("tpu_pod.sh", *options.split(), "--spot")
  commands = [words(x)[1:] for x in run.stdout.splitlines() if x[0] == "+"]
  verbs = [c[4] for c in commands if c[0] == "gcloud"]
  assert verbs == ["create", "scp", "ssh", "ssh"]
  assert commands[0][5:] == [
    *("r", "--zone=z", "--accelerator-type=v5litepod-16", "--version=v"),
    "--spot",
  ]
  assert commands[1][:2] == ["git", "archive"]
  install, train = (
    c[-1].removeprefix("--command=") for c in commands if "ssh" in c
  )
  assert "pip install" in install and "gcsfuse --implicit-dirs b" in install
  assert "DIFFMVR_DISTRIBUTED=1" in train
  assert words(train)[-len(TRAINING) :] == TRAINING
  assert all("--worker=all" in c for c in commands[2:])


ON_SLURM = ["slurm", "--nodes", "3", "--cpus", "16"]
ON_KUBERNETES = [
  *("kubernetes", "--name", "r", "--image", "i:1", "--nodes", "3"),
  *("--cpus", "16", "--memory", "64Gi"),
]
ARCHIVE = ["/data/my videos", "--out", "/data/out", 'k="v"']
COMMANDS = {
  "restore": ["diffmvr_jax.restore"],
  "evaluate": ["diffmvr_jax.evaluate"],
  "export": ["data_prep", "export"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("gpus", [0, 8])
def test_ray_runs_on_all_nodes_of_a_slurm_job(gpus, command):
  options = [*ON_SLURM, "--gpus", str(gpus), "--account", "a"]
  run = launch("ray.sh", *options, training=[command, *ARCHIVE])
  lines = run.stdout.splitlines()
  for setting in (
    "nodes=3",
    "ntasks-per-node=1",
    "cpus-per-task=16",
    "no-kill",
  ):
    assert f"#SBATCH --{setting}" in lines
  assert "#SBATCH --account=a" in lines
  assert ("#SBATCH --gpus-per-node=8" in lines) == (gpus == 8)
  assert words(run.stdout[run.stdout.index("srun ") :].replace("\\\n", "")) == [
    *("srun", "--cpus-per-task=16", "--kill-on-bad-exit=0"),
    *("ray", "symmetric-run", "--address", "$head:6379", "--min-nodes", "3"),
    *("--num-cpus", "16", "--num-gpus", str(gpus), "--"),
    *("python", "-m", *COMMANDS[command], *ARCHIVE, "--engine", "ray"),
  ]
  subprocess.run(["bash", "-n"], input=run.stdout, text=True, check=True)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("gpus", [0, 8])
def test_ray_is_a_job_of_kuberay(gpus, command):
  options = [*ON_KUBERNETES, "--gpus", str(gpus), "--claim", "c"]
  run = launch("ray.sh", *options, training=[command, *ARCHIVE])
  job = yaml.safe_load(run.stdout)
  assert job["kind"] == "RayJob"
  assert words(job["spec"]["entrypoint"]) == [
    *("python", "-m", *COMMANDS[command], *ARCHIVE, "--engine", "ray"),
  ]
  cluster = job["spec"]["rayClusterSpec"]
  head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
  # The head only hands out work.
  assert head["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
  assert workers["replicas"] == workers["minReplicas"] == 3
  limits = {"cpu": "16", "memory": "64Gi"}
  for group, resources in (
    (head, {"cpu": "2", "memory": "64Gi"}),
    (workers, limits | ({"nvidia.com/gpu": gpus} if gpus else {})),
  ):
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == resources
    assert container["image"] == "i:1"
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount == {"name": volume["name"], "mountPath": "/data"}
    assert volume["persistentVolumeClaim"] == {"claimName": "c"}


@pytest.mark.parametrize("account", [None, "bucket-user"])
def test_ray_pods_may_use_a_bucket(account):
  options = ["--service-account", account] if account else []
  archive = ["gs://b/videos", "--out", "s3://b/out"]
  run = launch(
    "ray.sh", *ON_KUBERNETES, *options, training=["restore", *archive]
  )
  spec = yaml.safe_load(run.stdout)["spec"]
  assert words(spec["entrypoint"])[3:] == [*archive, "--engine", "ray"]
  cluster = spec["rayClusterSpec"]
  for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
    pod = group["template"]["spec"]
    assert pod.get("serviceAccountName") == account
    assert "volumes" not in pod and len(pod["containers"]) == 1


def test_ray_runs_only_what_it_can():
  run = launch("ray.sh", *ON_SLURM, training=["train", "--config", "x"])
  assert run.returncode == 2 and "expected restore, export or" in run.stderr


@pytest.mark.parametrize(
  ("script", "options", "said"),
  [
    ("ray.sh", [], "expected slurm or kubernetes first"),
    ("ray.sh", ["slurm", "--nodes", "2"], "--cpus is needed"),
    ("ray.sh", ["slurm", "--image", "i"], "unknown option --image for slurm"),
    ("ray.sh", ["kubernetes", "--cpus", "2"], "--name is needed"),
    ("ray.sh", ["kubernetes", "--time", "2"], "unknown option --time for kub"),
    ("local.sh", ["--gpus", "1"], "unknown option --gpus"),
    ("slurm.sh", ["--node", "1"], "unknown option --node"),
    ("tpu_pod.sh", ["--name", "r"], "--zone is needed"),
    ("jobset.sh", ["--name", "r"], "--name and --image are needed"),
    ("jobset.sh", ["--name", "r", "--image", "i"], "--tpu or --gpus"),
    (
      "jobset.sh",
      ["--name", "r", "--image", "i", "--tpu", "v9"],
      "expected v5e, v5p or v6e",
    ),
  ],
)
def test_misuse_is_refused_in_one_line(script, options, said):
  run = launch(script, *options)
  assert run.returncode == 2
  assert said in run.stderr and run.stderr.count("\n") == 1


@pytest.mark.parametrize(
  "script", ["local.sh", "slurm.sh", "jobset.sh", "tpu_pod.sh"]
)
def test_nothing_to_train_is_refused(script):
  run = launch(script, training=[])
  assert run.returncode == 2 and "no arguments for the training" in run.stderr


def test_shellcheck_finds_nothing():
  beside = Path(sys.executable).with_name("shellcheck")
  shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
  assert shellcheck, "the test extra installs it"
  run = subprocess.run(
    [shellcheck, "-x", *sorted(LAUNCH.rglob("*.sh"))],
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stdout
