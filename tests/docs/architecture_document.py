"""Writes the parts of docs/architecture.md that follow from the code.

python -m tests.docs.architecture_document
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from m6rec.job_records import JOBS, JOBS_OF_A_RUN, JOBS_OF_JOBS, JobRecord
from m6rec.schemas import TABLES
from tests.test_layers import LAYERS, LIBRARY, REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "architecture.md"
PACKAGE = LIBRARY / "m6rec"


def main() -> None:
    """Replace the generated parts of the document."""
    DOCUMENT.write_text(with_parts(DOCUMENT.read_text()))


def with_parts(text: str) -> str:
    """The document with each generated part made anew between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    for name, part in PARTS.items():
        start, end = f"<!-- generated: {name} -->", "<!-- end -->"
        if start not in text:
            raise ValueError(f"{DOCUMENT} has no line {start}; add it where the part belongs")
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{DOCUMENT} has no line {end} after {start}; add it")
        text = f"{before}{start}\n{part()}\n{end}{after}"
    return text


# --- the picture ------------------------------------------------------------------------------


def picture() -> str:
    """The jobs of a run and their tables as a Mermaid flowchart."""
    lines = ["```mermaid", "flowchart TD", *flowchart(JOBS_OF_A_RUN), "```"]
    return "\n".join(lines)


def flowchart(jobs: Sequence[JobRecord]) -> Iterator[str]:
    """The lines of the flowchart, a job after the other.

    Tables that one job alone writes are one node. A table that several jobs write is a node of its
    own.
    """
    shared = _written_by_several(jobs)
    yield from (f"    {table}[({table})]" for table in shared)
    for job in jobs:
        if job.reads_sources:
            yield f"    sources[(your tables)] --> {job.name}"
        own = [table for table in job.writes if table not in shared]
        own += [f"{table}, if asked" for table in job.writes_if_asked if table not in shared]
        if own:
            yield f'    {job.name} --> {_tables_of(job)}[("{"<br>".join(own)}")]'
        for table in shared:
            if table in job.writes:
                yield f"    {job.name} --> {table}"
    yield from _arrows(jobs, shared)
    for job in jobs:
        for table in shared:
            if table in job.reads:
                yield f"    {table} --> {job.name}"
            elif table in job.reads_if_made:
                yield f"    {table} -.-> {job.name}"


def _arrows(jobs: Sequence[JobRecord], shared: Sequence[str]) -> Iterator[str]:
    """Arrows from the tables of a job to the jobs that read them, without those implied."""
    direct = {job: [writer for writer in jobs if _feeds(writer, job, shared)] for job in jobs}
    before: dict[JobRecord, set[JobRecord]] = {}
    for job in jobs:
        before[job] = set(direct[job]).union(*(before[writer] for writer in direct[job]))
    for writer in jobs:
        for job in jobs:
            implied = any(writer in before[between] for between in direct[job])
            if writer in direct[job] and not implied:
                always = set(writer.writes) & set(job.reads)
                yield f"    {_tables_of(writer)} {'-->' if always else '-.->'} {job.name}"


def _feeds(writer: JobRecord, job: JobRecord, shared: Sequence[str]) -> bool:
    """Whether a job reads a table that another one, and no third one, writes."""
    written = {*writer.writes, *writer.writes_if_asked} - set(shared)
    return writer is not job and bool(written & {*job.reads, *job.reads_if_made})


def _written_by_several(jobs: Sequence[JobRecord]) -> list[str]:
    written = [table for job in jobs for table in (*job.writes, *job.writes_if_asked)]
    return [table for table in dict.fromkeys(written) if written.count(table) > 1]


def _tables_of(job: JobRecord) -> str:
    return f"{job.name}_tables"


# --- tables of words --------------------------------------------------------------------------


def table_of_jobs() -> str:
    """Markdown: each job of a run, what it does, reads, writes and rests on."""
    common = [
        section
        for section in JOBS_OF_A_RUN[0].sections
        if all(section in job.sections for job in JOBS_OF_A_RUN)
    ]
    lines = [
        f"Every job of a run rests on the sections and keys {_listed(_code(common))} of the"
        " configuration; the last column has the others.",
        "",
        "| job | what it does | reads | writes | other sections |",
        "|---|---|---|---|---|",
    ]
    for job in (one for one in JOBS if one not in JOBS_OF_JOBS):
        reads = [*_code(job.reads), *_code(job.reads_if_made, "where made")]
        writes = [*_code(job.writes), *_code(job.writes_if_asked, "if asked")]
        if job.reads_sources:
            reads.insert(0, "your tables")
        others = _code([section for section in job.sections if section not in common])
        cells = [f"`{job.name}`", _doc_of_job(job), *map(", ".join, (reads, writes, others))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_composed_jobs() -> str:
    """Markdown: each job that runs others."""
    lines = ["| job | what it does |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{job.name}` | {_doc_of_job(job)} |" for job in JOBS_OF_JOBS)])


def table_of_layers() -> str:
    """Markdown: the layers from the bottom, each module or package with a sentence."""
    lines = ["| layer | module or package | what it holds |", "|---|---|---|"]
    for number, layer in enumerate(LAYERS, start=1):
        for name in layer:
            lines.append(f"| {number} | `{name}` | {first_sentence(_source_of(name))} |")
    return "\n".join(lines)


def tree() -> str:
    """The files of the package at depth two, each with a sentence."""
    entries = [("lib/m6rec/", "")]
    for path in _children(PACKAGE):
        entries.append((_label(path, 1), first_sentence(_module(path))))
        if path.is_dir():
            entries += [
                (_label(child, 2), first_sentence(_module(child))) for child in _children(path)
            ]
    width = max(len(label) for label, _ in entries) + 2
    lines = [f"{label:{width}}{sentence}".rstrip() for label, sentence in entries]
    return "\n".join(["```text", *lines, "```"])


def table_of_tables() -> str:
    """Markdown: each table, what a row means, and its key."""
    lines = ["| table | what a row is | key |", "|---|---|---|"]
    for table in TABLES.values():
        lines.append(f"| `{table.name}` | {table.meaning} | {', '.join(_code(table.key))} |")
    return "\n".join(lines)


def _code(names: Sequence[str], addition: str = "") -> list[str]:
    return [f"`{name}` ({addition})" if addition else f"`{name}`" for name in names]


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


# --- docstrings -------------------------------------------------------------------------------


def first_sentence(file: Path) -> str:
    """The first sentence of a module's docstring.

    Raises:
        ValueError: the module has no docstring.
    """
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    if docstring is None:
        raise ValueError(f"{file} has no docstring; say in one sentence what it holds")
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return f"{paragraph.split('. ')[0].removesuffix('.')}."


def _doc_of_job(job: JobRecord) -> str:
    return first_sentence(REPOSITORY / "jobs" / f"{job.name}.py")


def _source_of(name: str) -> Path:
    root = REPOSITORY if name.startswith("jobs") else LIBRARY
    place = root.joinpath(*name.split("."))
    return _module(place if place.is_dir() else place.with_suffix(".py"))


def _module(path: Path) -> Path:
    return path / "__init__.py" if path.is_dir() else path


def _children(folder: Path) -> list[Path]:
    """The modules and packages in a folder, by name."""
    children = [path for path in folder.iterdir() if not path.name.startswith("__")]
    return sorted(path for path in children if path.is_dir() or path.suffix == ".py")


def _label(path: Path, depth: int) -> str:
    return f"{'  ' * depth}{path.name}{'/' if path.is_dir() else ''}"


PARTS: Mapping[str, Callable[[], str]] = {
    "picture": picture,
    "jobs": table_of_jobs,
    "composed jobs": table_of_composed_jobs,
    "layers": table_of_layers,
    "tree": tree,
    "tables": table_of_tables,
}

if __name__ == "__main__":
    main()
