"""What a job says on stderr reaches the stderr of spark-submit.sh's caller."""

from pathlib import Path

import pytest

from m6rec.spark.messages import keep_trace, say


def test_a_message_goes_to_the_stderr_that_the_shell_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr_of_caller = tmp_path / "stderr"
    stderr_of_caller.touch()
    monkeypatch.setenv("M6REC_STDERR", str(stderr_of_caller))
    say("warning", "column [x] is empty")
    assert stderr_of_caller.read_text() == "warning: column [x] is empty\n"
    keep_trace(ValueError("no such thing"))
    assert "\tValueError: no such thing\n" in stderr_of_caller.read_text()
    said_here = capsys.readouterr()
    assert (said_here.out, said_here.err) == ("", "")


def test_a_message_to_what_is_no_terminal_begins_with_its_kind_though_colours_are_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr_of_caller = tmp_path / "stderr"
    stderr_of_caller.touch()
    monkeypatch.setenv("M6REC_STDERR", str(stderr_of_caller))
    monkeypatch.setenv("FORCE_COLOR", "1")
    say("error", "there is no such run")
    assert stderr_of_caller.read_text() == "error: there is no such run\n"


def test_without_the_shell_a_message_goes_to_the_own_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("M6REC_STDERR", raising=False)
    say("note", "3 rows of sku:m:12")
    assert capsys.readouterr().err == "note: 3 rows of sku:m:12\n"
