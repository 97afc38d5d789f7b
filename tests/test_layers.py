"""Imports run one way: from higher layers to lower ones, never in a circle, and jobs are leaves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LIBRARY = REPOSITORY / "lib"

# The lowest layer comes first. A module may import from its own entry and from lower layers, but
# not from another entry of its layer; only the entries of the lowest layer may import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "m6rec",
        "m6rec.columns",
        "m6rec.errors",
        "m6rec.files",
        "m6rec.fingerprints",
        "m6rec.schemas",
        "m6rec.rankers",
    ),
    ("m6rec.config",),
    ("m6rec.job_records",),
    ("m6rec.check",),
    ("m6rec.kernels",),
    ("m6rec.spark",),
    ("m6rec.towers",),
    ("m6rec.lakehouse",),
    ("m6rec.stages",),
    ("m6rec.runs", "m6rec.fits"),
    (
        "m6rec.publication",
        "m6rec.report",
        "m6rec.startup",
        "m6rec.datasets",
        "m6rec.tuning",
    ),
    ("m6rec.command_line",),
    ("jobs",),
)
SPARK = ("pyspark", "delta", "py4j")
WITHOUT_SPARK = ("m6rec.check", "m6rec.kernels", "m6rec.towers", "m6rec.config", "m6rec.rankers")
COMPOSED_OF_JOBS = {
    f"jobs.{name}"
    for name in ("pipeline", "nightly", "demo", "quality", "rerun", "robustness", "tune")
}


def imported(source: str, package: str) -> Iterator[str]:
    """Every module that the source imports, at any depth; relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: -node.level + 1 or None] if node.level else []
            base = ".".join([*parts, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _modules() -> dict[str, set[str]]:
    """The modules of lib/ and jobs/, each with what it imports."""
    found = {}
    for root, files in ((LIBRARY, LIBRARY.rglob("*.py")), (REPOSITORY, REPOSITORY.glob("jobs/*"))):
        for file in files:
            if file.suffix == ".py":
                parts = file.relative_to(root).with_suffix("").parts
                package = ".".join(parts[:-1])
                name = package if parts[-1] == "__init__" else ".".join(parts)
                found[name] = set(imported(file.read_text(), package))
    return found


MODULES = _modules()


def layer_of(module: str) -> tuple[int, str]:
    """The layer's number and the longest prefix that stands in LAYERS."""
    matches = [
        (len(prefix), number, prefix)
        for number, layer in enumerate(LAYERS)
        for prefix in layer
        if module == prefix or (prefix != "m6rec" and _is_within(module, prefix))
    ]
    assert matches, f"{module} stands in no layer of tests/test_layers.py; give it one"
    _, number, prefix = max(matches)
    return number, prefix


def own_imports(module: str) -> set[str]:
    """The modules of the package and of jobs/ that a module imports."""
    return {name for name in MODULES[module] if name in MODULES and name != module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_nothing_from_the_layers_above_or_beside_it(module: str) -> None:
    number, prefix = layer_of(module)
    words = number == 0
    wrong = [
        name
        for name in sorted(own_imports(module))
        for its_number, its_prefix in [layer_of(name)]
        if its_number > number or (its_number == number and its_prefix != prefix and not words)
    ]
    assert wrong == []


def test_no_imports_form_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " imports ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(own_imports(module)):
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("layer", WITHOUT_SPARK)
def test_arrays_and_configuration_know_no_spark(layer: str) -> None:
    of_layer = {name: MODULES[name] for name in MODULES if _is_within(name, layer)}
    assert of_layer
    wrong = [
        f"{module} imports {name}"
        for module, names in of_layer.items()
        for name in names
        if any(_is_within(name, package) for package in SPARK)
    ]
    assert wrong == []


def test_jobs_are_leaves() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if module not in COMPOSED_OF_JOBS
        for name in own_imports(module)
        if _is_within(name, "jobs") and name != "jobs"
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import pyspark.sql as sql", "pyspark.sql"),
        ("from m6rec import stages", "m6rec.stages"),
        ("def f():\n    from ..stages.rows import count", "m6rec.stages.rows"),
        ("from .. import stages", "m6rec.stages"),
    ],
)
def test_every_form_of_import_is_seen(source: str, module: str) -> None:
    assert module in set(imported(source, "m6rec.kernels"))


def test_compiled_kernels_take_constants_from_what_the_cache_of_numba_goes_by() -> None:
    """numba keeps a constant as it was, and a cache has the state of these files in its name."""
    kernels = {file: file.read_text() for file in LIBRARY.glob("m6rec/kernels/*/*.py")}
    compiled = [file for file, text in kernels.items() if "numba" in text]
    known = {*compiled, *LIBRARY.glob("m6rec/kernels/arrays/*.py")}
    wrong = [
        f"{file.name}: {name}"
        for file in compiled
        for name in imported(kernels[file], "")
        if name.startswith("m6rec") and name.rpartition(".")[2].isupper()
        if LIBRARY / f"{'/'.join(name.split('.')[:-1])}.py" not in known
    ]
    assert wrong == []
