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
# Create or complete .venv: every package of setup.py in the version of constraints.txt.
# Does nothing, in well under a second, if that is done already. PYTHON=... picks the interpreter.
# With the argument "demo" only what the demo needs: nothing to train, serve, export or test with.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly STAMP=$VENV/.setup_done
readonly FOR=${1:-all}
EXTRAS='ros,demo'
[[ $FOR == demo ]] || EXTRAS+=,train,onnx,openvino,ray,rerun,tips,web,test
readonly EXTRAS

say() { printf '==> %s\n' "$*"; }
missing() { printf 'missing: %s\n' "$*" >&2; }

in_range() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        >/dev/null 2>&1
}

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if command -v "$name" >/dev/null && in_range "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# What the environment is made from; a moved folder needs a new one, since paths are inside.
key() {
    {
        pwd -P
        sha256sum constraints.txt setup.py setup.cfg scripts/setup_venv.sh zegclip_core/__init__.py
    } | sha256sum | cut -d' ' -f1
}

# One line for each thing that is not there.
check_prerequisites() {
    local ok=0
    if ! python=$(find_python); then
        missing "Python 3.11, 3.12 or 3.13 (tried: ${PYTHON:-python3 python3.13 python3.12" \
            "python3.11}). Debian, Ubuntu: apt install python3"
        ok=1
    elif ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        missing "the venv module of $python. Debian, Ubuntu: apt install python3-venv"
        ok=1
    fi
    if ! command -v make >/dev/null; then
        missing 'make. Debian, Ubuntu: apt install make'
        ok=1
    fi
    if ! command -v cc >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null
    then
        missing 'a C compiler (cc, gcc or clang). Debian, Ubuntu: apt install gcc libc6-dev'
        ok=1
    fi
    if [[ $(uname -sm) != 'Linux x86_64' ]]; then
        missing "Linux on x86-64 (here: $(uname -sm)): the index has ROS 2 wheels for it alone." \
            'Beside a ROS 2 from apt: docs/install.md'
        ok=1
    fi
    return "$ok"
}

make_venv() {
    # One of a folder that was moved or copied starts the programs of the old place.
    if in_range "$VENV/bin/python" &&
        head -n 3 "$VENV/bin/pip" 2>/dev/null | grep -qF "$(pwd -P)/$VENV/"; then
        say "Completing $VENV ($("$VENV/bin/python" --version))"
        return
    fi
    say "Creating $VENV with $("$python" --version)"
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
}

install() {
    "$VENV/bin/python" -m pip install --disable-pip-version-check --retries 5 --timeout 60 \
        --constraint constraints.txt "$@"
}

main() {
    local python
    # What is complete for all is so for the demo.
    if [[ -f $STAMP && -x $VENV/bin/python ]] && { [[ $(<"$STAMP") == "$(key) all" ]] ||
        [[ $(<"$STAMP") == "$(key) $FOR" ]]; }; then
        say "Environment: $VENV is up to date"
        return
    fi
    check_prerequisites || exit 1
    make_venv
    rm -f "$STAMP"
    say 'Installing pip and setuptools'
    install --quiet pip setuptools wheel
    say "Installing $(grep -c == constraints.txt) pinned packages, ROS 2 and PyTorch among them:" \
        'about 6 GB the first time, some minutes'
    # The build tools are pinned and there already, so nothing is fetched to build with.
    install --no-build-isolation --editable ".[$EXTRAS]"
    say 'Checking that the packages fit together'
    "$VENV/bin/python" -m pip check
    printf '%s %s\n' "$(key)" "$FOR" >"$STAMP"
    say "Environment: $VENV is ready"
}

main
