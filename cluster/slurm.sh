#!/usr/bin/env bash
#SBATCH --job-name=cilf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
# A job of CILF on all nodes of an allocation, from a checkout on a file system that they share, after `make`:
#   sbatch cluster/slurm.sh label /data/photographs /data/ages
# When the time is over, the same line again goes on. Options of sbatch win over those above: sbatch --nodes 8 ...
set -euo pipefail

job="${1:?which job? label, train, list ...}"
shift
cd "${SLURM_SUBMIT_DIR}"
export PATH="${PWD}/.venv/bin:${PATH}"

mapfile -t nodes < <(scontrol show hostnames "${SLURM_JOB_NODELIST}")
# Other jobs may share the node, with a Ray of their own.
port=$((20000 + SLURM_JOB_ID % 20000))

# Importing Ray from a shared file system takes longer than the 30 s that it waits for its nodes.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
# Without a token of its own, the head takes one that it finds in this home, and refuses the other nodes, which do not.
# It also keeps everybody else on the network from running code here.
RAY_AUTH_TOKEN="$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Ray sends usage statistics otherwise, and where they are off, a note that says so.
export RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9
# RAY_ADDRESS is the job's alone: `ray start` would take it for a cluster to join.
exec srun ray symmetric-run \
    --address "${nodes[0]}:${port}" \
    --min-nodes "${SLURM_JOB_NUM_NODES}" \
    --num-cpus "${SLURM_CPUS_PER_TASK}" \
    --num-gpus "${SLURM_GPUS_ON_NODE:-0}" \
    -- env RAY_ADDRESS=auto python "jobs/${job}.py" "$@"
