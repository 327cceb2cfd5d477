#!/bin/sh
# Which CUDA JAX can use with this machine's NVIDIA driver, 12 or 13; otherwise one line that says what is missing.
# JAX_CUDA says it where the driver is on other machines, a cluster's nodes.
missing() { echo "PROFILE=gpu: $1" >&2; exit 1; }
case ${JAX_CUDA:-} in
  12 | 13) echo "$JAX_CUDA"; exit ;;
  ?*) missing "JAX_CUDA: expected 12 or 13, got $JAX_CUDA" ;;
esac
[ "$(uname -s)" = Linux ] || missing "JAX has CUDA for Linux alone, and this is $(uname -s)"
command -v nvidia-smi >/dev/null || missing "there is no NVIDIA driver here (no nvidia-smi); make book needs none"
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)
release=${driver%%.*}
case $release in
  '' | *[!0-9]*) missing "nvidia-smi finds no GPU" ;;
esac
[ "$release" -ge 525 ] || missing "the NVIDIA driver $driver is too old for JAX: 525 or newer is needed"
if [ "$release" -ge 580 ]; then echo 13; else echo 12; fi
