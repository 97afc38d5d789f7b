"""The command `m6rec JOB ...` of an installed wheel, for platforms that start wheels."""

import importlib
import pkgutil
import runpy
import sys


def main() -> None:
    """Run the job of that name with the other arguments, as `./spark-submit.sh JOB` does."""
    jobs = importlib.import_module("jobs")
    names = sorted(module.name for module in pkgutil.iter_modules(jobs.__path__))
    job = sys.argv[1] if len(sys.argv) > 1 else ""
    if job not in names:
        sys.exit(f"error: there is no job {job or 'named'}. Jobs: {' '.join(names)}")
    sys.argv = [f"{job}.py", *sys.argv[2:]]
    runpy.run_module(f"jobs.{job}", run_name="__main__")


if __name__ == "__main__":
    main()
