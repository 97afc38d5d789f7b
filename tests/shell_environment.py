"""The environment of a shell that has just been opened, for what tests start as an owner would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).parent.parent
# By default a thread of OpenMP, such as one of torch, keeps its core busy while it waits for other
# ones, and one of OpenBLAS for 2^26 cycles. Asleep it leaves the core to another process; no number
# depends on it.
CORES_ARE_SHARED = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "16"}
# Besides a shell's own: where what Python and numba compile is kept, which tests need not do anew.
_KEPT = ("PATH", "HOME", "LANE", "PYTHONDONTWRITEBYTECODE", "NUMBA_CACHE_DIR")
# By another kernel, BLAS rounds otherwise than within the tests, with whose numbers those of such
# processes are compared.
KERNELS_OF_BLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# How pip and uv reach a package registry: the machine's, not the shell's.
_OF_REGISTRIES = ("PIP_", "UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def shell_environment(**variables: str) -> dict[str, str]:
    """PATH, HOME, the virtual environment that runs the tests, and `variables`: nothing else.

    What the developer has set, such as PYTHON, MASTER or SPARK_HOME, does not reach a process that
    starts with this.
    """
    kept = {name: os.environ[name] for name in (*_KEPT, *KERNELS_OF_BLAS) if name in os.environ}
    # Some have their Java there alone.
    java = os.environ.get("JAVA_HOME")
    if java is not None and (Path(java) / "bin" / "java").exists():
        kept["JAVA_HOME"] = java
    return kept | {"M6REC_VENV": sys.prefix} | variables


def run_python(
    *arguments: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the Python of the tests, to which this repository is known, as from a new shell."""
    path = f"{_REPOSITORY / 'lib'}:{_REPOSITORY}"
    # A wide terminal, so that no message is wrapped.
    plain = {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=shell_environment(PYTHONPATH=path, **plain, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


def java_home() -> str:
    """The folder of the Java that the tests use."""
    java = shutil.which("java")
    return os.environ.get("JAVA_HOME") or str(Path(java or "/usr/bin/java").resolve().parents[1])


def registry_variables() -> dict[str, str]:
    """What a process needs besides, if it is to install a package."""
    return {
        name: value for name, value in os.environ.items() if name.upper().startswith(_OF_REGISTRIES)
    }
