"""One name has one meaning: no two modules define the same name.

A public name of lib/ is defined by one module of lib/ and jobs/. A private name is local to its
folder: modules of one folder do not share one. Jobs are leaves: what only they define, and their
entry points, may recur among them.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
ENTRY_POINTS = {"run", "main"}


def top_level_names(source: str) -> set[str]:
    """The functions, classes and variables that a module defines, without what it imports."""
    return {name for node in ast.parse(source).body for name in _names_of(node)}


def _names_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def repeated(names: dict[Path, set[str]]) -> dict[str, list[str]]:
    """The names that break the rule, each with the modules that define it."""
    places = defaultdict(list)
    for module, defined in sorted(names.items()):
        for name in defined - ENTRY_POINTS:
            if not name.startswith("__"):
                scope = str(module.parent) if name.startswith("_") else "everywhere"
                places[name, scope].append(str(module))
    return {
        name: modules
        for (name, _), modules in places.items()
        if len(modules) > 1 and not all(module.startswith("jobs") for module in modules)
    }


def test_no_name_is_defined_by_two_modules() -> None:
    files = [*REPOSITORY.glob("jobs/*.py"), *REPOSITORY.glob("lib/**/*.py")]
    names = {file.relative_to(REPOSITORY): top_level_names(file.read_text()) for file in files}
    assert repeated(names) == {}


def test_a_repeated_name_is_found() -> None:
    names = {
        Path("lib/a/one.py"): top_level_names("def rank(): ...\n_SIZE: int = 1"),
        Path("lib/a/two.py"): top_level_names("class rank: ...\n_SIZE = 2"),
        Path("lib/b/one.py"): top_level_names("_SIZE = 3\nfrom a.two import rank"),
        Path("jobs/one.py"): top_level_names("def run(): ...\nCONFIG = 1\n_SIZE = 4"),
        Path("jobs/two.py"): top_level_names("def run(): ...\nCONFIG = 2\n_SIZE = 5"),
    }
    assert repeated(names) == {
        "rank": ["lib/a/one.py", "lib/a/two.py"],
        "_SIZE": ["lib/a/one.py", "lib/a/two.py"],
    }
