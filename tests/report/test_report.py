"""The report, metrics.json and the results in the terminal."""

import base64
import dataclasses
import datetime
import doctest
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from m6rec.kernels.evaluation import metrics
from m6rec.report import plots, wording
from m6rec.report.console import hybrid_and_best_member, print_guards, print_history, print_results
from m6rec.report.export import metrics_json
from m6rec.report.page import ReportData, render_report, write_report

MODELS = {"hybrid": 0.36, "fusion": 0.35, "mllib_als": 0.3, "popularity": 0.19}


def _metric(model: str, fold: str, segment: str, metric: str, k: int, value: float) -> Any:
    ends = (None, None) if metric == "coverage" else (value - 0.01, value + 0.01)
    return {
        "run_id": "run-1",
        "model": model,
        "fold": fold,
        "segment": segment,
        "metric": metric,
        "k": k,
        "value": value,
        "ci_low": ends[0],
        "ci_high": ends[1],
        "users": 943,
    }


METRICS = [
    _metric(model, fold, segment, metric, k, value * (1.1 if fold == "validation" else 1))
    for model, value in MODELS.items()
    for fold in ("validation", "test")
    for segment in ("all", "cold_users")
    for metric in ("ndcg", "recall", "novelty", "coverage")
    for k in (10, 20)
]
COMPARISONS = [
    {
        "run_id": "run-1",
        "model": "hybrid",
        "other_run_id": other_run,
        "other_model": "mllib_als",
        "fold": "test",
        "segment": segment,
        "metric": "ndcg",
        "k": 10,
        "difference": 0.0617,
        "ci_low": 0.05,
        "ci_high": 0.07,
        "p_value": 1e-9,
        "users": 943,
    }
    for other_run, segment in (("run-1", "all"), ("run-0", "all"), ("run-1", "domain: north"))
]
EXAMPLES = [
    {
        "user_id": user,
        "history": ["Fargo (1996)"],
        "items": [
            {
                "rank": rank,
                "item_id": str(rank),
                "title": None if rank == 2 else f"Film <{rank}> [b]",
                "score": 3.0 - rank,
                "reasons": [
                    {"kind": "history", "value": "Fargo (1996)", "share": 0.4},
                    {"kind": "popular", "value": "popular with all users", "share": 1.0},
                ],
            }
            for rank in range(1, 13)
        ],
    }
    for user in ("anna", "ben", "carla", "dora")
]
DATA = ReportData(
    run_id="run-1",
    config_hash="0123456789abcdef" * 4,
    counts={"users": 943, "items": 1682, "interactions": 100_000},
    quarantined={"future_time": 3, "exact_duplicate": 12, "empty_id": 3},
    metrics=METRICS,
    comparisons=COMPARISONS,
    histories={
        "svd": [
            {"epoch": 1, "loss": 5.0, "validation_ndcg": 0.3},
            {"epoch": 2, "loss": 4.0, "validation_ndcg": 0.34},
        ]
    },
    hybrid_weights={"fusion": 1.0, "ridge": 0.5},
    hybrid_evidence=[
        {
            "side": side,
            "bin": "1 or 2",
            "rests_on": 1234 + place,
            "weights": {"fusion": 0.25, "ridge": 0.75},
        }
        for place, side in enumerate(("items", "users"))
    ],
    examples=EXAMPLES,
    ablations=[
        {
            "model": model,
            "part": part,
            "k": 20,
            "value": 0.35 + difference,
            "difference": difference,
            "ci_low": difference - 0.01,
            "ci_high": difference + 0.01,
            "p_value": 0.0004,
            "users": 900,
        }
        for model, part, difference in (
            ("towers_on_sets", "mlp", -0.02),
            ("hybrid", "towers_svd", 0.001),
            ("hybrid", "ridge", -0.03),
        )
    ],
    configurations_on_test=3,
    validation_trials=1234,
    step_seconds={"prepare_interactions": 20.0, "train_factors": 75.0},
)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(DATA)


def test_the_report_tells_every_part(page: str) -> None:
    for expected in (
        "run-1",
        "0123456789ab",
        "100\u202f000",
        "exact duplicate",
        "All metrics at K = 10, test",
        "All metrics at K = 20, test",
        "Hybrid against each, test",
        "+0.0617",
        "&lt; .001",
        "run run-0",
        "Cold users",
        "Popularity against coverage",
        "Training of the towers",
        "Members of the hybrid",
        "1\u202f234 weightings",
        "3 configurations of this lake were scored",
        "User anna",
        "Has had: Fargo (1996)",
        "you had Fargo (1996) (40%)",
        "1 min 35 s",
    ):
        assert expected in page, expected


def test_weights_by_evidence_stand_with_what_they_rest_on(page: str) -> None:
    for expected in ("items with 1 or 2", "1\u202f234", "users with 1 or 2", "1\u202f235"):
        assert expected in page
    row = page.partition("items with 1 or 2")[2].partition("</tr>")[0]
    assert row.index("0.25") < row.index("0.75")


def test_a_line_compares_the_hybrid_with_its_best_single_member() -> None:
    assert hybrid_and_best_member(DATA, ("popularity", "mllib_als")) == (
        "Hybrid beside its best single member, NDCG@10 on test: 0.3600, MLlib ALS 0.3000; +20.0%"
        " (+0.0617, paired interval +0.0500 to +0.0700)"
    )
    assert hybrid_and_best_member(DATA, ("no_such",)) == ""


def test_the_headline_is_the_hybrid_on_test(page: str) -> None:
    (headline,) = re.findall(r'card best"><b>([\d.]+)</b>\s*<span>([^<]+)<', page)
    assert headline == ("0.3600", "NDCG@10 of Hybrid, test")


def test_rankers_stand_best_first_and_the_best_value_is_marked(page: str) -> None:
    table = page.split("All metrics at K = 10")[1].split("</table>", maxsplit=1)[0]
    names = re.findall(r"<tr(?: class=\"chosen\")?><td>([^<]+)</td>", table)
    assert names == ["Hybrid", "Fusion", "MLlib ALS", "Popularity"]
    best = re.findall(r'class="best"\s+title="[^"]*">([\d.]+)<', table)
    assert best == ["0.3600"] * 4


def test_parts_stand_by_what_they_are_worth_the_hybrids_first(page: str) -> None:
    table = page.split("What each part is worth")[1].split("</table>", maxsplit=1)[0]
    lines = re.findall(r"<tr><td>([^<]+)</td><td class=\"text\">([^<]+)</td>", table)
    assert lines == [
        ("Hybrid@20", "Local ridge"),
        ("Hybrid@20", "Towers on SVD"),
        ("Towers on sets@20", "MLP"),
    ]
    assert "-0.0300" in table
    assert "+0.0010" in table


def test_reasons_of_the_quarantine_stand_most_frequent_first(page: str) -> None:
    table = page.split("Quarantine")[1].split("</table>", maxsplit=1)[0]
    names = re.findall(r"<tr><td>([^<]+)</td>", table)
    assert names == ["exact duplicate", "empty id", "future time"]


def test_text_from_the_data_is_escaped(page: str) -> None:
    assert "Film &lt;1&gt; [b]" in page
    assert "Film <1>" not in page


def test_the_report_needs_nothing_from_outside(page: str) -> None:
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert len(sources) == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    for source in sources:
        drawing = ElementTree.fromstring(base64.b64decode(source.split(",")[1]))
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert "@import" not in page
    assert "<script" not in page


def test_tags_are_closed(page: str) -> None:
    for tag in ("section", "table", "tr", "td", "th", "div", "h2", "h3", "p", "main"):
        opened = len(re.findall(rf"<{tag}[ >]", page))
        assert opened == page.count(f"</{tag}>"), tag


def test_the_same_data_gives_the_same_report(page: str) -> None:
    assert render_report(DATA) == page


def test_parts_without_data_are_left_out() -> None:
    page = render_report(ReportData(run_id="bare", config_hash="f" * 64))
    assert "bare" in page
    assert "<section>" not in page
    assert "None" not in page


def test_errors_of_predicted_ratings_stand_least_first() -> None:
    errors = [
        _metric(model, fold, "all", metric, 0, value + shift)
        for fold, shift in (("validation", 0.01), ("test", 0.0))
        for model, value in {"rating_bias": 0.94, "rating_hybrid": 0.88}.items()
        for metric in ("rmse", "mae")
    ]
    page = render_report(dataclasses.replace(DATA, metrics=METRICS + errors))
    section = page[page.index("Predicted ratings, test") :]
    rows = re.findall(r"<td>(Rating [^<]+)</td>\s*<td>([\d.]+)</td>", section)
    assert rows == [("Rating hybrid", "0.8800"), ("Rating bias", "0.9400")]
    assert "Predicted ratings" not in render_report(DATA)
    terminal = Console(file=io.StringIO(), width=110)
    print_results(terminal, METRICS + errors, [])
    printed = terminal.file.getvalue()
    assert printed.index("Rating hybrid") < printed.index("Rating bias")


def test_one_fold_alone_is_reported_as_it_is() -> None:
    rows = [row for row in METRICS if row["fold"] == "validation"]
    page = render_report(dataclasses.replace(DATA, metrics=rows, comparisons=[]))
    assert "All metrics at K = 10, validation" in page
    assert "against each" not in page


def test_the_report_is_written_into_a_new_folder(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.html"
    write_report(file, DATA)
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_names_of_close_points_do_not_cover_each_other() -> None:
    rows = [
        _metric(f"ranker_{n}", "test", "all", metric, 10, base + 0.002 * n)
        for n in range(8)
        for metric, base in (("coverage", 0.4), ("novelty", 9.0))
    ]
    figure = plots.novelty_against_coverage(rows, "test", 10, "hybrid")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 8
    for place, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:place]) == 0


def test_bars_show_the_values_with_their_intervals() -> None:
    figure = plots.quality(METRICS, "ndcg", 10, "hybrid")
    validation, test = figure.axes
    assert [round(bar.get_width(), 3) for bar in test.patches] == sorted(MODELS.values())
    assert validation.get_title(loc="left") == "NDCG@10, validation"
    assert plots.png(figure).startswith(b"\x89PNG")


def test_guards_are_told_on_the_page_and_in_the_terminal() -> None:
    stopped = {
        "guard": "full_lists",
        "outcome": "stopped",
        "value": 0.5,
        "bound": "at least",
        "limit": 0.99,
        "detail": "5 of 10 users have none",
    }
    off = stopped | {"guard": "drift", "outcome": "off", "value": None, "detail": None}
    page = render_report(dataclasses.replace(DATA, guards=[stopped, off]))
    assert "Guards of the publication" in page
    assert "5 of 10 users have none" in page
    assert "Guards of the publication" not in render_report(DATA)
    terminal = io.StringIO()
    print_guards(Console(file=terminal, width=110), [stopped, off])
    [line] = [line for line in terminal.getvalue().splitlines() if "full_lists" in line]
    assert "stopped" in line
    assert "0.5000" in line
    assert "at least 0.99" in line


def test_the_history_is_told_in_the_terminal() -> None:
    at = datetime.datetime(2026, 11, 26, 4, 30, tzinfo=datetime.UTC)
    row = {"at": at, "who": "ann", "action": "rollback", "run_id": "monday", "version": 3}
    terminal = io.StringIO()
    print_history(Console(file=terminal, width=110), [row, row | {"who": None, "version": None}])
    assert re.search(r"2026-11-26 04:30:00 +ann +rollback +monday +3", terminal.getvalue())


def test_metrics_json_is_sorted_and_holds_null_for_what_is_not_finite(tmp_path: Path) -> None:
    rows = [dict(row) for row in METRICS]
    rows[0]["ci_low"] = math.nan
    first, second = tmp_path / "new" / "metrics.json", tmp_path / "again.json"
    metrics_json(rows, first)
    metrics_json(rows[::-1], second)
    assert first.read_bytes() == second.read_bytes()
    stored = json.loads(first.read_text())
    assert len(stored) == len(METRICS)
    assert list(stored[0]) == list(METRICS[0])
    keys = [[row[name] for name in ("model", "fold", "segment", "metric", "k")] for row in stored]
    assert keys == sorted(keys)
    nulls = {(r["metric"], r["k"]) for r in stored if r["ci_low"] is None}
    assert nulls == {("coverage", 10), ("coverage", 20), (rows[0]["metric"], rows[0]["k"])}


def test_metrics_json_of_no_rows_is_an_empty_list(tmp_path: Path) -> None:
    metrics_json([], tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == []


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_shows_rankers_and_three_lists_uncut(width: int) -> None:
    output = io.StringIO()
    print_results(Console(file=output, width=width), METRICS, EXAMPLES)
    text = output.getvalue()
    assert "Rankers at K = 10 on test, 943 users" in text
    assert re.search(r"Hybrid +0\.360 +0\.360 .*0\.350 to 0\.370", text)
    assert "Film <1> [b]" in text
    assert "Film <10> [b]" in text
    assert "Film <11> [b]" not in text
    assert "Top 10 of user carla" in text
    assert "user dora" not in text
    assert "\u2026" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_shorter_list_is_called_as_long_as_it_is() -> None:
    output = io.StringIO()
    short: dict[str, Any] = {**EXAMPLES[0], "items": EXAMPLES[0]["items"][:5]}
    print_results(Console(file=output, width=80), METRICS, [short])
    assert "Top 5 of user anna" in output.getvalue()


def test_of_a_user_of_domains_the_first_items_of_each_are_shown() -> None:
    output = io.StringIO()
    items = [
        {**item, "domain": domain, "title": f"{domain}: {item['title']}"}
        for domain in ("book", "film", "game")
        for item in EXAMPLES[0]["items"]
    ]
    print_results(Console(file=output, width=80), METRICS, [{**EXAMPLES[0], "items": items}])
    text = output.getvalue()
    assert "Top 3 in each domain of user anna" in text
    assert [len(re.findall(f"{domain}: ", text)) for domain in ("book", "film", "game")] == [3] * 3


def test_every_metric_has_a_name_in_reports() -> None:
    of_lists = {one for key, one in vars(metrics).items() if key.isupper() and type(one) is str}
    assert {metrics.NOVELTY, metrics.COVERAGE} < of_lists
    assert set(wording.METRIC_NAMES) == {*metrics.RELEVANCE_METRICS, *of_lists}


def test_the_examples_of_the_wording_hold() -> None:
    outcome = doctest.testmod(wording)
    assert (outcome.attempted, outcome.failed) == (3, 0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (wording.number_text(None), "-"),
        (wording.number_text(math.nan), "-"),
        (wording.number_text(0.12345), "0.1235"),
        (wording.p_value_text(0.0421), ".042"),
        (wording.p_value_text(1.0), "1.000"),
        (wording.duration_text(59.94), "59.9 s"),
        (wording.duration_text(61), "1 min 01 s"),
        (wording.segment_name("cold_items"), "Cold items"),
        (wording.segment_name("popularity_head"), "Popularity: head"),
        (wording.model_name("user_neighbours"), "User neighbours"),
        (wording.reason_text({"kind": "model", "value": "your taste", "share": 1.0}), "your taste"),
    ],
)
def test_numbers_and_names_read_well(found: str, expected: str) -> None:
    assert found == expected
