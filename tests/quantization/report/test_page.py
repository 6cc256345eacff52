"""The page and the table: whole, escaped, and in the order of the decision."""

import re
from copy import deepcopy
from html.parser import HTMLParser

import pytest

from service.quantization.report.page import page
from service.quantization.report.plot import discs, frontier, plot
from service.quantization.report.table import ranked, table


def row(name: str, speed: float, score: float, verdict: str, megabytes: float = 1.0) -> dict:
    output = {
        "name": "y", "agreement": 1.0, "cosine": 1.0, "sqnr": 40.0, "worst_slice": 0,
        "worst_cosine": 1.0,
    }  # fmt: skip
    return {
        "name": name, "verdict": verdict, "file_bytes": megabytes * 1e6, "compressed_bytes": 1e6,
        "fusion_ratio": 1.0,
        "steady_bytes": 2e6, "dropped": "", "batch_invariant": True,
        "timing": {"latency_ratio": speed, "throughput_ratio": speed, "rows": 8},
        "quality": {"metric": "accuracy", "score": score, "reference": 1.0, "failure": "",
                    "outputs": [output]},
    }  # fmt: skip


REPORT = {
    "name": "m<odel>", "created": "today", "threads": 1, "search_seconds": 3.0, "notes": [],
    "hardware": {"cpu": "a CPU", "advice": ["fast"]}, "software": {"onnx": "1"},
    "sha256": {"model": "00"}, "goal": {"target": "latency", "max_drop": 0.01},
    "data": {"source": "d.npz", "random": False, "calibration_rows": 8, "evaluation_rows": 24,
             "confirmation_rows": 8, "seed": 0},
    "confirmation": {"metric": "accuracy", "score": 0.998, "reference": 1.0},
    "decision": {"winner": "b", "reason": "best <so far>"},
    "reference": row("FP32", 1.0, 1.0, "the reference", 4),
    "candidates": [
        row("a", 3.0, 0.5, "accuracy falls"),
        row("b", 2.0, 0.999, "passes"),
        row("c", 1.5, 0.99, "passes"),
        {"name": "d", "verdict": "LoadFailed: <no> kernel"},
    ],
}  # fmt: skip


class Balance(HTMLParser):
    """Counts what is opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "rect", "line", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "polyline"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text = page(REPORT)
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert "m&lt;odel&gt;" in text
    assert "<no> kernel" not in text
    assert not any(word in text for word in ("<script", "http://", "https://", "src="))


def test_the_winner_stands_first_and_what_failed_last() -> None:
    assert [r["name"] for r in ranked(REPORT)] == ["b", "c", "a", "d"]
    assert table(REPORT).splitlines()[2].startswith("*  b")


def test_a_narrow_terminal_sees_whole_lines_with_the_figures_that_decide() -> None:
    lines = table(REPORT | {"candidates": [row("a" * 70, 3.0, 0.5, "f" * 90)]}, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["RECIPE", "LATENCY", "SCORE", "VERDICT"]
    assert "a…a" in lines[2]
    assert lines[2].endswith("f" * 26 + "…")
    assert "3.00 x" in lines[2]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
@pytest.mark.parametrize(
    ("target", "head"),
    [("latency", "LATENCY"), ("throughput", "ROWS/S"), ("size", "MB"), ("memory", "MEMORY")],
)
def test_verdict_and_target_stay_whatever_the_width(width: int, target: str, head: str) -> None:
    names = [f"static QDQ U8S8 per-channel, products only, {bits}-bit weights" for bits in (7, 8)]
    verdict = "accuracy falls by 3.10%, allowed are 1.00%"
    rows = [row(name, 3.0, 0.5, verdict) for name in names]
    goal = {"target": target, "max_drop": 0.01}
    text = table(REPORT | {"candidates": rows, "goal": goal}, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    heads = lines[0].split()
    assert {"RECIPE", "SCORE", "VERDICT", head} <= set(heads)
    assert verdict[: 27 if width >= 80 else 15] in text
    assert "7-bit weights" in text or width < 80
    if width == 160:
        assert len(heads) == 9
        assert verdict in text


def test_on_a_phone_a_candidate_is_a_card_with_its_verdict_and_recipe_first() -> None:
    text = page(REPORT)
    phone = text.partition("@media (max-width: 600px)")[2].partition("</style>")[0]
    order = {
        name: int(re.search(rf"\.candidates {re.escape(name)} {{[^}}]*order: (\d)", phone)[1])  # type: ignore[index]
        for name in (".verdict", ".recipe", "td")
    }
    assert order[".verdict"] < order[".recipe"] < order["td"]
    assert '<td class="n" data-head="speed, batch 1">2.00 x</td>' in text


def test_where_no_output_has_classes_no_top_1_is_shown() -> None:
    assert "top-1" in page(REPORT)
    report = deepcopy(REPORT)
    for each in report["candidates"][:3]:
        each["quality"]["outputs"][0]["agreement"] = None
    text = page(report)
    assert "top-1" not in text
    winner = report["candidates"][1]["quality"]
    winner["outputs"].append(winner["outputs"][0] | {"name": "classes", "agreement": 0.5})
    text = page(report)
    assert "<td>y</td><td>-</td>" in text
    assert "<td>classes</td><td>0.5000</td>" in text


def test_rows_and_picture_follow_the_target() -> None:
    wide, small = row("wide", 1.2, 1.0, "passes"), row("small", 1.5, 1.0, "passes", 0.5)
    wide["timing"]["throughput_ratio"] = 3.0
    for target, first in (("throughput", "wide"), ("latency", "small"), ("size", "small")):
        report = REPORT | {
            "goal": {"target": target, "max_drop": 0.01}, "candidates": [wide, small],
            "decision": {"winner": None, "reason": ""},
        }  # fmt: skip
        assert ranked(report)[0]["name"] == first
        speeds = {disc.name: disc.speed for disc in discs(report)}
        assert speeds["wide"] == (3.0 if target == "throughput" else 1.2)


def test_a_frontier_of_one_candidate_is_drawn_too() -> None:
    report = REPORT | {"candidates": [row("b", 2.0, 1.0, "passes")]}
    points = plot(report).split('class="frontier" points="')[1].split('"')[0].split()
    assert len({point.split(",")[0] for point in points}) > 1
    assert len({point.split(",")[1] for point in points}) > 1


def test_it_tells_what_the_winner_is_worth_on_rows_that_did_not_choose_it() -> None:
    assert "confirmed on 8 rows that chose nothing: accuracy 0.9980" in page(REPORT)
    kept = REPORT | {"confirmation": None}
    assert "no winner to confirm" in page(kept)
    kept["data"] = REPORT["data"] | {"confirmation_rows": 0}
    assert "too few rows to set some aside" in page(kept)


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    assert [disc.name for disc in frontier(discs(REPORT))] == ["FP32", "b", "a"]


def test_of_runs_that_are_never_joined_it_is_not_said_that_they_influence_each_other() -> None:
    winner = row("b", 2.0, 0.999, "passes") | {"batch_invariant": None}
    text = page(REPORT | {"candidates": [winner], "data": REPORT["data"] | {"by_run": True}})  # type: ignore[operator]
    assert "<b>does not apply</b><span>rows independent of their batch" in text
    assert "8 runs to calibrate on" in text


def test_figures_that_are_null_are_shown_as_such() -> None:
    report = deepcopy(REPORT)
    for each in report["candidates"][:3]:
        each["quality"] |= {"score": None}
        each["timing"] |= {"latency_ratio": None}
        each["quality"]["outputs"][0] |= {"sqnr": None, "cosine": None}
    report["confirmation"]["score"] = None
    assert "not finite" in page(report)
    assert "not finite" in table(report)
