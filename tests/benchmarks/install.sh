#!/usr/bin/env bash
# Layers the peers of the benchmark over the virtual environment: install.sh VENV OVERLAY UV
# The overlay holds only what the lock file has not, so that both sides run on one NumPy.
set -euo pipefail

venv="$1" overlay="$2" uv="$3"
pins="requirements/benchmark.txt"
wanted="$(sha256sum "$pins" | cut -d' ' -f1) $(realpath "$venv")"
[[ -f "$overlay/.pins" && "$(cat "$overlay/.pins")" == "$wanted" ]] && exit 0
"$venv/bin/python" -m venv --clear --without-pip "$overlay"
site() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
printf 'import site; site.addsitedir("%s")\n' "$(site "$venv")" >"$(site "$overlay")/m6rec-base.pth"
"$uv" pip install --quiet --python "$overlay/bin/python" --no-deps --require-hashes -r "$pins"
printf '%s' "$wanted" >"$overlay/.pins"
