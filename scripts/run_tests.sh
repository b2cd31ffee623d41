#!/usr/bin/env bash
# Copyright 2026 ZegCLIP-ROS contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
#
# All tests, in a process for each of a few parts: what a test makes the libraries of its part
# load (OpenVINO and its compilers, ROS 2, Lightning) shares no memory with the other parts, and a
# crash costs one of them. With arguments they go to pytest, in one process.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PYTHON=$1
shift
[[ $# -eq 0 ]] || exec "$PYTHON" -m pytest "$@"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

run_part() {
    echo "==> $*"
    local code=0
    "$PYTHON" -m pytest "$@" 2>&1 | tee -a "$log" || code=${PIPESTATUS[0]}
    if [[ $code -ne 0 ]]; then
        failed=1
        echo "This part ended with exit code $code: $*" >&2
    fi
}

readonly PARTS=(
    'test/repository test/benchmarks'
    'test/engines test/export test/segmenter'
    'test/ros test/bags test/cli'
    'test/fleet'
    'test/training test/alignment'
)
rest=(zegclip_core)
for folder in test/*/; do
    folder=${folder%/}
    if [[ " ${PARTS[*]} " != *" $folder "* ]] && compgen -G "$folder/test_*.py" >/dev/null; then
        rest+=("$folder")
    fi
done
for part in "${PARTS[@]}"; do
    # shellcheck disable=SC2086 # folders without spaces
    run_part $part
done
run_part "${rest[@]}"

# One line for all parts, as pytest closes with.
counts=$(grep -E '^=+ .* in [0-9.]+s.* =+$' "$log" |
    grep -oE '[0-9]+ (failed|passed|skipped|xfailed|xpassed|warnings?|errors?)' |
    awk '{ sum[$2] += $1 } END { for (what in sum) printf "%d %s, ", sum[what], what }' ||
    true)
echo "====== ${counts%, } in all parts ======"
exit "$failed"
