"""docs/architecture.md says of jobs, tables and layers what the code says."""

import re
from pathlib import Path

import pytest

from m6rec.job_records import JOBS, JobRecord
from m6rec.schemas import TABLES
from tests.docs.architecture_document import DOCUMENT, first_sentence, flowchart, with_parts

GLOSSARY = (
    "user item interaction pair fold fit selection final member ranker blend hybrid fusion tower"
    " factor projection context domain evidence list candidate run publication quarantine masked"
    " transition occasion repeat support"
)
WRITER = JobRecord("write", writes=("rows",), reads_sources=True)
READER = JobRecord("read", reads=("rows",), writes=("sums",), writes_if_asked=("plots",))


def test_the_document_is_what_the_code_says() -> None:
    text = DOCUMENT.read_text()
    assert text == with_parts(text), "run python -m tests.docs.architecture_document"


def test_every_job_and_every_table_has_its_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE))
    assert {*TABLES, *(job.name for job in JOBS)} <= rows


def test_the_glossary_explains_every_word() -> None:
    explained = re.findall(r"^\*\*(\w+)\.\*\*", DOCUMENT.read_text(), flags=re.MULTILINE)
    assert sorted(explained, key=str.lower) == explained
    assert {word.lower() for word in explained} == set(GLOSSARY.split())


def test_a_document_without_a_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="generated: picture"):
        with_parts("# Architecture\n")


def test_the_picture_leads_from_the_owners_tables_through_jobs_to_tables() -> None:
    assert [line.strip() for line in flowchart((WRITER, READER))] == [
        "sources[(your tables)] --> write",
        'write --> write_tables[("rows")]',
        'read --> read_tables[("sums<br>plots, if asked")]',
        "write_tables --> read",
    ]


def test_an_arrow_that_others_imply_is_left_out() -> None:
    last = JobRecord("tell", reads=("rows", "sums"))
    lines = [line.strip() for line in flowchart((WRITER, READER, last))]
    assert "read_tables --> tell" in lines
    assert "write_tables --> tell" not in lines


def test_an_arrow_is_dotted_where_the_table_may_be_missing() -> None:
    last = JobRecord("tell", reads_if_made=("sums",))
    assert "    read_tables -.-> tell" in list(flowchart((READER, last)))


def test_a_table_that_several_jobs_write_stands_by_itself() -> None:
    other = JobRecord("add", writes=("sums",))
    lines = [line.strip() for line in flowchart((READER, other))]
    assert {"sums[(sums)]", "read --> sums", "add --> sums"} <= set(lines)


def test_the_first_sentence_goes_over_lines_and_ends_with_its_paragraph(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""One thing over\ntwo lines. And more.\n\nMore still.\n"""\n')
    assert first_sentence(module) == "One thing over two lines."
    module.write_text('"""One thing without an end\n\nMore still.\n"""\n')
    assert first_sentence(module) == "One thing without an end."
