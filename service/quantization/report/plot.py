"""Plots speed, accuracy and size of all candidates as an inline SVG, with the Pareto frontier.

Discs further right are faster, discs further up are more accurate, and larger discs are larger
files. Candidates in the shaded area can win. The speed is rows/s or tokens/s if that is the target,
otherwise the speed at batch 1.
"""

from dataclasses import dataclass
from html import escape
from math import ceil, isfinite, log10, sqrt

from service.quantization.evaluate.quality import Quality
from service.quantization.report.label_places import Box, Round, place
from service.quantization.report.report import Report, Row
from service.quantization.search.decide import NOISE, SLOWEST, Goal, Target
from service.quantization.search.reasons import Standing

WIDTH, HEIGHT = 960, 500
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 26, 58
HEADROOM, FOOTROOM = 64, 40
"""The margin above and below the outermost discs, for labels."""
LEAST_DROP, MOST_DROP = 1e-4, 1.0
"""Ticks of the logarithmic axis of drops. Drops below the first are drawn at the axis's end."""
LARGEST_DISC = 24.0
DROP_TICKS = ((1e-4, "≤ 0.01 %"), (1e-3, "0.1 %"), (1e-2, "1 %"), (1e-1, "10 %"), (1.0, "100 %"))
SPEED_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 1.5, 2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class Disc:
    """One candidate in the plot. ``rough`` is True if the candidate was dropped after a few runs;
    ``number`` is its row in the table."""

    name: str
    speed: float
    drop: float
    megabytes: float
    kind: str
    rough: bool
    number: int = 0


def discs(report: Report) -> list[Disc]:
    """Return discs for FP32 and all candidates that were timed and scored."""
    found = []
    for number, row in enumerate((report.reference, *report.ranked)):
        if row.timing is None or row.quality is None:
            continue
        speed = row.ratio(report.goal.target)
        if not isfinite(speed) or speed <= 0:
            speed = SPEED_TICKS[0]
        found.append(
            Disc(row.name, speed, drop_of(row.quality), row.file_bytes / 1e6, _kind(row, report),
                 bool(row.dropped), number)
        )  # fmt: skip
    return found


def _kind(row: Row, report: Report) -> str:
    if row is report.winner:
        return "winner"
    if row.verdict.standing is Standing.REFERENCE:
        return "reference"
    return "passes" if row.verdict.passes else "fails"


def drop_of(quality: Quality) -> float:
    """Return the drop of the score, at most 1; 1 if the candidate failed or a score is not
    finite."""
    if quality.failure or not isfinite(quality.score) or not isfinite(quality.reference):
        return 1.0
    return min(1.0, quality.drop)


def frontier(found: list[Disc]) -> list[Disc]:
    """Return the Pareto frontier, slowest first: the discs that no other disc beats in both speed
    and accuracy."""
    kept: list[Disc] = []
    best = float("inf")
    for disc in sorted(found, key=lambda d: (-d.speed, d.drop)):
        if disc.drop < best and not disc.rough:
            best = disc.drop
            kept.append(disc)
    return kept[::-1]


def plot(report: Report) -> str:
    """Return the plot as SVG."""
    found = discs(report)
    scale = _Scale(found, report.goal.max_drop)
    largest = max(disc.megabytes for disc in found)
    line = frontier(found)
    body = [
        *_field(scale, report.goal),
        *_axes(scale, _words(report.goal)),
        _path(scale, line),
        *(_circle(scale, disc, largest) for disc in sorted(found, key=lambda d: -d.megabytes)),
        *_labels(scale, found, largest),
    ]
    speed = _words(report.goal)
    title = f"{speed}, loss of accuracy, and file size of each candidate"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        + "".join(body)
        + "</svg>"
    )


def _words(goal: Goal) -> str:
    if goal.target == Target.THROUGHPUT:
        return f"{goal.unit}/s against FP32, best batch"
    return "speed against FP32, batch 1"


class _Scale:
    """Maps speeds and drops to coordinates."""

    def __init__(self, found: list[Disc], max_drop: float) -> None:
        speeds = [disc.speed for disc in found]
        self.low = min(0.5, *speeds) * 0.85
        self.high = max(1.6, *speeds) * 1.2
        largest = max(0.01, 2 * max_drop, *(disc.drop for disc in found))
        self.most = min(MOST_DROP, 10.0 ** ceil(log10(largest) - 1e-9))

    def x(self, speed: float) -> float:
        share = (log10(speed) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, drop: float) -> float:
        bounded = min(max(drop, LEAST_DROP), self.most)
        share = (log10(bounded) - log10(LEAST_DROP)) / (log10(self.most) - log10(LEAST_DROP))
        return TOP + HEADROOM + share * (HEIGHT - TOP - BOTTOM - HEADROOM - FOOTROOM)


def _radius(disc: Disc, largest: float) -> float:
    return max(9.0, LARGEST_DISC * sqrt(disc.megabytes / largest))


def _field(scale: _Scale, goal: Goal) -> list[str]:
    small = goal.target in (Target.SIZE, Target.MEMORY)
    left, bottom = scale.x(SLOWEST if small else NOISE), scale.y(goal.max_drop)
    width, height = WIDTH - RIGHT - left, bottom - TOP
    what = "fast enough" if small else "faster"
    words = f"{what}, and within the budget of {goal.max_drop:.2%}"
    box = f'x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{height:.1f}"'
    return [
        f'<rect class="field" {box}/>',
        _text(WIDTH - RIGHT, TOP - 8, words, "end", "hint"),
    ]


def _axes(scale: _Scale, speed_words: str) -> list[str]:
    parts = []
    for speed in SPEED_TICKS:
        if scale.low <= speed <= scale.high:
            x = scale.x(speed)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" '
                         f'y2="{HEIGHT - BOTTOM}"/>')  # fmt: skip
            parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{speed:g} x", "middle"))
    for drop, words in DROP_TICKS:
        if drop > scale.most * 1.001:
            continue
        y = scale.y(drop)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/>')  # fmt: skip
        parts.append(_text(LEFT - 8, y + 4, words, "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, f"{speed_words} →",
                       "middle", "axis"))  # fmt: skip
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(14 {middle:.0f}) '
        'rotate(-90)">← loss of accuracy</text>'
    )
    return parts


def _path(scale: _Scale, line: list[Disc]) -> str:
    """Return the frontier as a stepped line. A candidate on the frontier dominates the area below
    it."""
    points = [(float(LEFT), scale.y(line[0].drop))] if line else []
    for disc in line:
        points += [(scale.x(disc.speed), points[-1][1]), (scale.x(disc.speed), scale.y(disc.drop))]
    if line:
        points.append((points[-1][0], HEIGHT - BOTTOM))
    shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="frontier" points="{shown}"/>'


def _circle(scale: _Scale, disc: Disc, largest: float) -> str:
    rough = " rough" if disc.rough else ""
    told = f"{disc.name}: {disc.speed:.2f} x, drop {disc.drop:.2%}, {disc.megabytes:.3g} MB"
    return (
        f'<circle class="{disc.kind}{rough}" cx="{scale.x(disc.speed):.1f}" '
        f'cy="{scale.y(disc.drop):.1f}" r="{_radius(disc, largest):.1f}">'
        f"<title>{escape(told)}</title></circle>"
    )


def _labels(scale: _Scale, found: list[Disc], largest: float) -> list[str]:
    """Return the labels: the names of the winner and of FP32, and the other candidates' row
    numbers.

    Names are placed first. They are drawn last, above the lines of the other labels.
    """
    rounds = [Round(scale.x(d.speed), scale.y(d.drop), _radius(d, largest)) for d in found]
    frame = Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    taken: list[Box] = []
    parts: list[list[str]] = []
    named = ("winner", "reference")
    pairs = sorted(zip(found, rounds, strict=True), key=lambda p: (p[0].kind not in named, p[1].x))
    for disc, circle in pairs:
        name = disc.kind in named
        words = disc.name if name else str(disc.number)
        box = place(circle, (7.2 if name else 6.5) * len(words) + 4, rounds, taken, frame)
        taken.append(box)
        parts.append(_label(circle, box, words, f"name {disc.kind}" if name else "number"))
    return [part for label in reversed(parts) for part in label]


def _label(disc: Round, box: Box, words: str, kind: str) -> list[str]:
    middle = (box.left + box.right) / 2
    text = _text(middle, box.bottom - 3, words, "middle", kind)
    if box.meets(disc.box):
        return [text]
    above = box.bottom < disc.y
    start, end = (disc.y - disc.radius, box.bottom) if above else (disc.y + disc.radius, box.top)
    return [
        f'<line class="lead" x1="{disc.x:.1f}" x2="{disc.x:.1f}" y1="{start:.1f}" y2="{end:.1f}"/>',
        text,
    ]


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
