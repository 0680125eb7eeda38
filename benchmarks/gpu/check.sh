#!/usr/bin/env bash
# All checks that need a GPU, in one command, within 8 minutes and without network access:
#
#   benchmarks/gpu/check.sh [OUTPUT_FOLDER]        default: benchmarks/results
#
# Builds gpgan in place for this GPU, tests it, runs compute-sanitizer and the benchmarks. Writes <gpu>-<date>.json and
# .md for the operations, <gpu>-critic-step-<date>.json, .md and .png for whole critic steps, and check.log with the
# output of every stage. Each stage is reported as ok or FAILED, and a failure does not stop the others; the exit status
# is 1 if any stage failed. PYTHON sets the interpreter (default: python3).
set -uo pipefail

folder=${1:-}
[[ -z $folder ]] || { mkdir -p "$folder" && folder=$(cd "$folder" && pwd); } || exit 1
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
python=${PYTHON:-python3}
total=470 # seconds for all stages
SECONDS=0

if ! device=$("$python" -c '
import sys, torch
if not torch.cuda.is_available():
    sys.exit("no CUDA device")
print("%d.%d" % torch.cuda.get_device_capability(), torch.cuda.get_device_name(), sep="|")'); then
    exit 1
fi
capability=${device%%|*}
folder=${folder:-$PWD/benchmarks/results}
mkdir -p "$folder" build/gpu || exit 1
log=$folder/check.log
: >"$log"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export PATH=$PATH:/usr/local/cuda/bin
failed=0
report=()

# say NAME RESULT: prints one line, and again at the end.
say() {
    report+=("$(printf '%-34s %s (%d s in total)' "$1" "$2" "$SECONDS")")
    printf '%s\n' "${report[-1]}"
}

# limited SECONDS COMMAND...: the command's output goes to the log and to $output. It is stopped at this limit, or when
# the total time is used up.
limited() {
    local limit=$1 left=$((total - SECONDS))
    shift
    ((limit < left)) || limit=$((left > 1 ? left : 1))
    printf '\n== %s\n' "$*" >>"$log"
    output=$(timeout -k 5 "$limit" "$@" 2>&1)
    local status=$?
    ((status != 124)) || output+=$'\n'"stopped after $limit s"
    printf '%s\n' "$output" >>"$log"
    return "$status"
}

# stage NAME SECONDS COMMAND...
stage() {
    local name=$1
    shift
    if limited "$@"; then
        say "$name" ok
    else
        failed=1
        tail -n 15 <<<"$output"
        say "$name" FAILED
    fi
}

# The last line of pytest's output, with the number of tests.
counted() { printf '    %s\n' "$(tail -n 1 <<<"$output")"; }

# sanitizer TOOL: must find nothing in the driver, and must find the planted fault of its kind.
sanitizer() {
    local tool=$1 silent='SUMMARY: 0 (errors|hazards)'
    local command=(compute-sanitizer --tool "$tool" --error-exitcode 99)
    if ! command -v compute-sanitizer >/dev/null; then
        failed=1
        say "$tool" 'FAILED: compute-sanitizer is not installed'
        return
    fi
    if limited 30 "${command[@]}" build/gpu/driver exact && grep -Eq "$silent" <<<"$output"; then
        limited 20 "${command[@]}" build/gpu/planted "$tool"
        if grep -q SUMMARY <<<"$output" && ! grep -Eq "$silent" <<<"$output"; then
            say "$tool" 'ok'
        else
            failed=1
            say "$tool" 'FAILED: does not find a planted fault'
        fi
    elif grep -qi 'not supported' <<<"$output"; then
        say "$tool" 'not supported here'
    else
        failed=1
        tail -n 15 <<<"$output"
        say "$tool" FAILED
    fi
}

printf 'gpgan on %s (capability %s)\n' "${device#*|}" "$capability"

nvcc=(nvcc -std=c++20 -O3 -lineinfo -arch="sm_${capability/./}" -I csrc)
stage 'build the library' 150 env GPGAN_CUDA=1 TORCH_CUDA_ARCH_LIST="$capability" \
    "$python" setup.py build_ext --inplace
stage 'build the driver' 60 "${nvcc[@]}" --threads 0 benchmarks/gpu/driver.cu csrc/cuda/*.cu -o build/gpu/driver
stage 'build the planted faults' 30 "${nvcc[@]}" benchmarks/gpu/planted.cu -o build/gpu/planted
stage 'driver against its reference' 20 build/gpu/driver
for tool in memcheck racecheck initcheck synccheck; do
    sanitizer "$tool"
done
stage 'CUDA graph and repeatability' 60 "$python" -m pytest -q -p no:cacheprovider benchmarks/gpu/test_cuda.py
counted
stage 'operator and penalty tests' 120 "$python" -m pytest -q -p no:cacheprovider -m gpu tests/ops tests/penalty tests/critic
counted
# Rows that do not fit into the remaining time are skipped and counted; the other rows are kept. The critic steps get the
# larger share, because they have more to compile.
left=$((total - SECONDS))
share=$((left * 3 / 5))
stage 'critic steps' "$share" "$python" -m benchmarks critic_step --device cuda --output "$folder" \
    --deadline "$((share - 30))"
sed -n '/^# /,$p' <<<"$output"
left=$((total - SECONDS))
stage 'benchmarks' "$left" "$python" -m benchmarks --device cuda --output "$folder" --deadline "$((left - 25))"
sed -n '/^# /,$p' <<<"$output"
if grep -Eq '[0-9]+ skipped' <<<"$output"; then
    failed=1
    say 'all benchmark rows measured' FAILED
fi

printf '\n'
printf '%s\n' "${report[@]}"
exit "$failed"
