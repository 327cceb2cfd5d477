#!/bin/sh
# A real Slurm of one node on this machine, for the tests.
#   slurm.sh install        Debian's packages, as root
#   slurm.sh start FOLDER   munged, slurmctld and slurmd, with all their files in FOLDER; they listen on loopback alone
#   slurm.sh stop FOLDER    end those three
# Outside FOLDER there is a link to its slurm.conf: Snakemake's plugin takes SLURM_CONF out of a job's environment.
# There need be no systemd and no cgroups: processes are found through /proc, and memory is watched, not confined.
set -eu
conf=/etc/slurm/slurm.conf

install() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
}

free_ports() {
  python3 - <<'PYTHON'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

start() {
  folder=$1 host=$(hostname -s)
  if [ -e "$conf" ]; then echo "slurm.sh: there is another Slurm here, of $conf" >&2; exit 1; fi
  mkdir -p "$folder/state" "$folder/spool"
  for gpu in 0 1; do mknod "$folder/gpu$gpu" c 1 3; done  # as /dev/null
  set -- $(free_ports)
  cat >"$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
SlurmctldPort=$1
SlurmdPort=$2
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
PlugStackConfig=/dev/null
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0,bf_interval=2
ReturnToService=2
KillWait=5
MinJobAge=300
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  echo "Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
  head -c 1024 /dev/urandom >"$folder/munge.key"
  chmod 400 "$folder/munge.key"
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" 2>"$folder/munged.err"
  slurmctld -i -f "$folder/slurm.conf"
  slurmd -f "$folder/slurm.conf"
  ln -s "$folder/slurm.conf" "$conf"
  for _ in $(seq 60); do
    case $(sinfo --noheader --format=%T 2>/dev/null) in idle) return ;; esac
    sleep 0.5
  done
  echo "slurm.sh: the node did not come up within 30 s; see the logs in $folder" >&2
  exit 1
}

stop() {
  for daemon in slurmd slurmctld munged; do
    [ -f "$1/$daemon.pid" ] || continue
    process=$(cat "$1/$daemon.pid")
    kill "$process" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$process" 2>/dev/null || break
      sleep 0.1
    done
  done
  if [ "$(readlink "$conf")" = "$1/slurm.conf" ]; then rm "$conf"; fi
}

command=$1
shift
"$command" "$@"
