"""The page and the table: complete, escaped, and in the order of the decision."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from math import inf, nan

import pytest

from service.engine.cpu.machine import Machine
from service.quantization.evaluate.quality import OutputQuality, Quality
from service.quantization.evaluate.timing import Timing
from service.quantization.evaluate.trial import Measurement
from service.quantization.graphs.fusion import Fusion
from service.quantization.recipes.build import Built
from service.quantization.recipes.catalogue import Recipe, Static
from service.quantization.report.json_report import as_json
from service.quantization.report.page import page
from service.quantization.report.plot import discs, frontier, plot
from service.quantization.report.report import DataFacts, Hashes, Report, Row
from service.quantization.report.table import table
from service.quantization.search.decide import Candidate, Goal, Target
from service.quantization.search.reasons import Decision, Standing, Verdict


def row(
    name: str, speed: float, score: float, verdict: str, megabytes: float = 1.0,
    rate: float | None = None, deviation: float | None = 0.0,
) -> Row:  # fmt: skip
    quality = Quality("accuracy", score, 1.0, (OutputQuality("y", 1.0, 1.0, 40.0, 0, 1.0, 0),))
    timing = Timing(0.01 / speed, 0.01, speed, 8, 800 * speed, 800, rate or speed)
    measured = Measurement(0.1, 2_000_000, 2_000_000, quality, timing, deviation)
    built = Built(int(megabytes * 1e6), 1_000_000, "INT8 QDQ", 17, Fusion(4, 0, 0, 0), 0.1)
    standing = Standing.PASSES if verdict == "passes" else Standing.FAILS
    return Row(Candidate(Recipe(name, Static()), built, measured), Verdict(standing, verdict))


def failed(name: str, why: str) -> Row:
    return Row(Candidate(Recipe(name, Static()), failure=why), Verdict(Standing.FAILS, why))


REPORT = Report(
    name="m<odel>",
    created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    reference=replace(
        row("FP32", 1.0, 1.0, "", 4), verdict=Verdict(Standing.REFERENCE, "the reference")
    ),
    candidates=(
        row("a", 3.0, 0.5, "accuracy falls"),
        row("b", 2.0, 0.999, "passes"),
        row("c", 1.5, 0.99, "passes"),
        failed("d", "LoadFailed: <no> kernel"),
    ),
    decision=Decision("b", "best <so far>"),
    confirmation=Quality("accuracy", 0.998, 1.0, ()),
    goal=Goal(Target.LATENCY, 0.01),
    data=DataFacts("d.npz", False, True, False, 8, 24, 8, 0),
    hashes=Hashes("00", "11"),
    threads=1,
    search_seconds=3.0,
    notes=(),
    profile=None,
    machine=Machine("a CPU", "x86_64", 2, None, 2**33, None, (), False),
    software=(("onnx", "1"),),
)


class Balance(HTMLParser):
    """Counts the HTML elements that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "rect", "line", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "polyline"):
            assert self.open.pop() == tag


def test_the_page_is_complete_and_loads_no_other_files() -> None:
    text = page(REPORT)
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert "m&lt;odel&gt;" in text
    assert "<no> kernel" not in text
    assert not any(word in text for word in ("<script", "http://", "https://", "src="))


def test_the_winner_is_first_and_failures_are_last() -> None:
    assert [r.name for r in REPORT.ranked] == ["b", "c", "a", "d"]
    assert table(REPORT).splitlines()[2].startswith("*  b")


def test_a_narrow_table_keeps_the_decisive_columns() -> None:
    lines = table(replace(REPORT, candidates=(row("a" * 70, 3.0, 0.5, "f" * 90),)), 80).splitlines()
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
def test_every_width_shows_verdict_and_target(width: int, target: str, head: str) -> None:
    names = [f"static QDQ U8S8 per-channel, products only, {bits}-bit weights" for bits in (7, 8)]
    verdict = "accuracy drops by 3.10%, allowed: 1.00%"
    rows = tuple(row(name, 3.0, 0.5, verdict) for name in names)
    text = table(replace(REPORT, candidates=rows, goal=Goal(Target(target), 0.01)), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    heads = lines[0].split()
    assert {"RECIPE", "SCORE", "VERDICT", head} <= set(heads)
    assert verdict[: 27 if width >= 80 else 15] in text
    assert "7-bit weights" in text or width < 80
    if width == 160:
        assert len(heads) == 9
        assert verdict in text


def test_throughput_of_a_language_model_is_in_tokens() -> None:
    goal = Goal(Target.THROUGHPUT, unit="tokens")
    found = replace(REPORT, goal=goal, candidates=(row("small", 3.0, 0.5, "passes"),))
    for text in (table(found).lower(), page(found)):
        assert "tokens/s" in text and "rows/s" not in text


def test_on_a_phone_a_candidate_is_a_card_with_its_verdict_and_recipe_first() -> None:
    text = page(REPORT)
    phone = text.partition("@media (max-width: 600px)")[2].partition("</style>")[0]
    order = {
        name: int(re.search(rf"\.candidates {re.escape(name)} {{[^}}]*order: (\d)", phone)[1])  # type: ignore[index]
        for name in (".verdict", ".recipe", "td")
    }
    assert order[".verdict"] < order[".recipe"] < order["td"]
    assert '<td class="n" data-head="speed, batch 1">2.00 x</td>' in text


def test_a_report_without_outputs_has_no_table_of_outputs() -> None:
    assert "Quality of the outputs" in page(REPORT)
    assert "Quality of the outputs" not in page(with_outputs())


def test_no_top_1_is_shown_without_classes() -> None:
    assert "top-1" in page(REPORT)
    assert "top-1" not in page(with_outputs(OutputQuality("y", None, 1.0, 40.0, 0, 1.0, 0)))
    text = page(
        with_outputs(
            OutputQuality("y", None, 1.0, 40.0, 0, 1.0, 0),
            OutputQuality("classes", 0.5, 1.0, 40.0, 0, 1.0, 0),
        )
    )
    assert "<td>y</td><td>-</td>" in text
    assert "<td>classes</td><td>0.5000</td>" in text


def with_outputs(*outputs: OutputQuality) -> Report:
    """The report with these outputs of the winner."""
    assert REPORT.winner is not None
    return with_winner(quality(REPORT.winner, outputs=outputs))


def with_winner(winner: Row) -> Report:
    return replace(REPORT, candidates=(winner,))


def quality(row: Row, **values: object) -> Row:
    """The row with other values of its quality."""
    measured = row.candidate.measured
    assert measured is not None
    assert measured.quality is not None
    changed = replace(measured, quality=replace(measured.quality, **values))  # type: ignore[arg-type]
    return replace(row, candidate=replace(row.candidate, measured=changed))


def test_rows_and_plot_follow_the_target() -> None:
    wide, small = row("wide", 1.2, 1.0, "passes", rate=3.0), row("small", 1.5, 1.0, "passes", 0.5)
    for target, first in (("throughput", "wide"), ("latency", "small"), ("size", "small")):
        report = replace(
            REPORT, goal=Goal(Target(target), 0.01), candidates=(wide, small),
            decision=Decision(None, ""),
        )  # fmt: skip
        assert report.ranked[0].name == first
        speeds = {disc.name: disc.speed for disc in discs(report)}
        assert speeds["wide"] == (3.0 if target == "throughput" else 1.2)


def test_a_frontier_of_one_candidate_is_drawn_too() -> None:
    report = replace(REPORT, candidates=(row("b", 2.0, 1.0, "passes"),))
    points = plot(report).split('class="frontier" points="')[1].split('"')[0].split()
    assert len({point.split(",")[0] for point in points}) > 1
    assert len({point.split(",")[1] for point in points}) > 1


def test_the_page_shows_the_confirmation_on_test_rows() -> None:
    assert "confirmed on 8 test rows: accuracy 0.9980" in page(REPORT)
    kept = replace(REPORT, confirmation=None)
    assert "no winner to confirm" in page(kept)
    kept = replace(kept, data=replace(REPORT.data, confirmation_rows=0))
    assert "too few rows for a test split" in page(kept)


def test_the_frontier_is_not_dominated() -> None:
    assert [disc.name for disc in frontier(discs(REPORT))] == ["FP32", "b", "a"]


def test_independence_of_rows_does_not_apply_to_whole_runs() -> None:
    winner = row("b", 2.0, 0.999, "passes", deviation=None)
    text = page(replace(with_winner(winner), data=replace(REPORT.data, by_run=True)))
    assert "<b>does not apply</b><span>rows independent of their batch" in text
    assert "8 runs for calibration" in text


def test_non_finite_figures_are_shown() -> None:
    winner = row("b", inf, nan, "passes")
    output = OutputQuality("y", 1.0, nan, -inf, 0, 1.0, 0)
    report = replace(
        with_winner(quality(winner, outputs=(output,))),
        confirmation=Quality("accuracy", nan, 1.0, ()),
    )
    assert page(report).count("not finite") == 8
    assert "not finite" in table(report)
    assert [disc.drop for disc in discs(report)] == [0.0, 1.0]


def test_report_json_has_null_for_non_finite_figures() -> None:
    found = as_json(with_winner(row("b", inf, nan, "passes")))
    written = json.loads(json.dumps(found, allow_nan=False))
    (winner,) = written["candidates"]
    assert winner["timing"]["latency_ratio"] is None and winner["quality"]["score"] is None


def test_report_json_keeps_its_keys() -> None:
    """Programs read them: new keys are allowed, removed keys are not."""
    found = as_json(REPORT)
    assert list(found) == [
        "name", "format", "created", "decision", "confirmation", "goal", "data", "sha256",
        "threads", "search_seconds", "notes", "profile", "hardware", "software", "reference",
        "candidates",
    ]  # fmt: skip
    assert found["format"] == 1
    assert [each["verdict"] for each in found["candidates"]] == [
        "accuracy falls", "passes", "passes", "LoadFailed: <no> kernel",
    ]  # fmt: skip
    assert set(found["candidates"][1]) == {
        "name", "verdict", "standing", "recipe", "file_bytes", "compressed_bytes", "precision",
        "opset", "fusion", "seconds", "note", "fusion_ratio", "load_seconds", "steady_bytes",
        "peak_bytes", "batch_deviation", "batch_invariant", "dropped", "kernels", "quality",
        "timing",
    }  # fmt: skip
    assert set(found["candidates"][3]) == {"name", "verdict", "standing", "recipe"}
