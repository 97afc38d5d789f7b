"""Check a job's options before Spark starts, by parsing its source: importing it takes seconds.

    python -m m6rec.startup.options jobs/publish.py --config conf/demo.yaml --run-id first

This imports the standard library alone, so that it takes hardly any time.
"""

import ast
import difflib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class JobOption:
    """An option of a job.

    Attributes:
        name: with its dashes.
        is_required: whether a call without it is refused.
        is_flag: whether it takes no value.
    """

    name: str
    is_required: bool = False
    is_flag: bool = False


# The options of `m6rec.command_line`, by the names of their types.
_SHARED = {
    "ConfigOption": JobOption("--config", is_required=True),
    "SetOption": JobOption("--set"),
    "RunIdOption": JobOption("--run-id"),
    "OutputOption": JobOption("--output"),
}


def options_of(source: str) -> tuple[JobOption, ...]:
    """The options of the job with this source; of one without `main`, those that jobs share."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            return tuple(_options_of_function(node))
    return tuple(_SHARED.values())


def _options_of_function(function: ast.FunctionDef) -> Iterator[JobOption]:
    parameters, defaults = function.args.args, function.args.defaults
    without_default = len(parameters) - len(defaults)
    for place, parameter in enumerate(parameters):
        kind = parameter.annotation
        if isinstance(kind, ast.Name):
            yield _SHARED[kind.id]
        elif isinstance(kind, ast.Subscript) and isinstance(kind.slice, ast.Tuple):
            value, option = kind.slice.elts
            is_flag = isinstance(value, ast.Name) and value.id == "bool"
            yield JobOption(_name_of(option), place < without_default, is_flag)


def _name_of(option: ast.expr) -> str:
    """The name in `typer.Option("--name", ...)`."""
    texts = [
        argument.value
        for argument in (option.args if isinstance(option, ast.Call) else [])
        if isinstance(argument, ast.Constant)
    ]
    return str(texts[0])


def wrong_use(job: str, options: Iterable[JobOption], arguments: list[str]) -> str | None:
    """What is wrong with a job's arguments; None where nothing is."""
    known = {option.name: option for option in options}
    given = set()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, sign, value = argument.partition("=")
        option = known.get(name)
        if option is None and not argument.startswith("-"):
            return f"{argument} belongs to no option of job {job}"
        if option is None or (option.is_flag and sign):
            near = difflib.get_close_matches(name, known, 1)
            return f"job {job} has no option {argument if option else name}" + (
                f"; did you mean {near[0]}?" if near else ""
            )
        if not option.is_flag and not sign:
            if not rest:
                return f"{name} has no value; give one after it"
            value = rest.pop(0)
        if value.startswith("~/"):
            return (
                f"{name} is {value}, and only a shell knows what ~ stands for; write the path out"
            )
        given.add(name)
    missing = [one.name for one in known.values() if one.is_required and one.name not in given]
    return f"job {job} needs {' and '.join(missing)}" if missing else None


def main() -> None:
    """Exit with 2 and a message where the arguments of a job are wrong."""
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    wrong = wrong_use(file.stem, options_of(file.read_text(encoding="utf-8")), arguments)
    if wrong is not None:
        help_of_job = f"./spark-submit.sh {file.stem} --help explains the options."
        print(f"error: {wrong}.\n       {help_of_job}".replace("?.", "?"), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
