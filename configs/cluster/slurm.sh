#!/usr/bin/env bash
# A comparison on as many nodes as asked for, with a Ray cluster that begins and ends with the job:
#
#   sbatch --nodes 8 --time 12:00:00 configs/cluster/slurm.sh \
#       --models bailu,mai_cnn --data /shared/images/manifest.parquet --out /shared/runs/big
#
# Everything after the script is compare.py's. The checkout, its environment (MAIBENCH_VENV, .venv by default), the
# images and the run's folder lie on a file system that all nodes share. Nodes with GPUs: --gpus-per-node 4, and --device
# cuda for compare.py. Where a node fails, the others go on; where the time is up, the job is queued again and goes on
# where it stopped.
#SBATCH --job-name=maibench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=maibench-%j.log
#SBATCH --signal=B:USR1@120
set -euo pipefail
umask 077
cd "${SLURM_SUBMIT_DIR:-$PWD}"
export PATH="${MAIBENCH_VENV:-$PWD/.venv}/bin:$PATH"

# every job has a token of its own: others on the same network cannot use its cluster
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # a node that is taken away has nothing to wait for

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs may share a node
client=$((port + 20000))
head=$(python -c 'import ray; print(ray.util.get_node_ip_address())') # the script runs on the first node

# `cores` of each node's own, not what the first one has; /tmp, as the paths of sockets must be short
node() { # HOSTS, then arguments of `ray start`
    local names=$1
    shift
    # shellcheck disable=SC2016
    srun --overlap --nodes="$(awk -F, '{print NF}' <<< "$names")" --ntasks-per-node=1 --nodelist="$names" \
        --cpus-per-task="$SLURM_CPUS_ON_NODE" --cpu-bind=none --kill-on-bad-exit=0 \
        bash -c 'exec ray start --block --num-cpus "$SLURM_CPUS_ON_NODE" --object-store-memory 1000000000 \
            --temp-dir "/tmp/ray-$SLURM_JOB_ID-$SLURM_PROCID-$$" "$@"' ray "$@" >> "maibench-$SLURM_JOB_ID-ray.log" 2>&1 &
}
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

node "${hosts[0]}" --head --port "$port" --ray-client-server-port "$client" --include-dashboard false
if ((${#hosts[@]} > 1)); then
    node "$(IFS=,; echo "${hosts[*]:1}")" --address "$head:$port"
fi
python - "$head:$port" "${#hosts[@]}" <<'PY'
import socket, sys, time
import ray
address, wanted = sys.argv[1], int(sys.argv[2])
host, port = address.split(":")
for last in reversed(range(120)):  # the head may take a while to answer
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        break
    except OSError as error:
        if not last:
            sys.exit(f"{address}: Ray does not start there ({error}); see maibench-JOB-ray.log")
        time.sleep(1)
ray.init(address=address, log_to_driver=False, logging_level="error")
for _ in range(120):  # those that are late join while the run goes on
    there = sum(node["Alive"] for node in ray.nodes())
    if there >= wanted:
        break
    time.sleep(1)
print(f"{there} of {wanted} nodes")
PY

python compare.py --engine ray --address "$head:$port" "$@" &
wait $!
