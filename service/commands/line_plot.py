"""A line plot as SVG, written by hand: two axes, a few labels, one path for each line."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 360
LEFT, TOP, BOTTOM = 64, 48, 48
LEGEND, CHARACTER = 130, 7.5
"""The minimum width for the names of the lines, and the width of a character."""
COLOURS = (
    "#3366cc", "#dc3912", "#109618", "#990099", "#b8860b", "#00838f", "#5d4037", "#616161",
)  # fmt: skip
MOST_LINES = len(COLOURS)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name, and its values, one for each step."""

    name: str
    values: Sequence[float]


def svg(
    title: str, x_label: str, y_label: str, lines: Sequence[Line], ticks: Sequence[str] = ()
) -> str:
    """Return the plot; both axes begin at 0. ``ticks`` name the steps; without names, steps are
    numbered."""
    right = 20 + max([LEGEND, *(len(line.name) * CHARACTER for line in lines)])
    steps = max(len(line.values) for line in lines)
    top = _round_up(max(max(line.values) for line in lines))
    width, height = WIDTH - LEFT - right, HEIGHT - TOP - BOTTOM

    def x(index: float) -> float:
        return LEFT + width * (index + 1) / steps

    def y(value: float) -> float:
        return TOP + height * (1 - value / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="26" font-size="16">{escape(title)}</text>',
    ]
    for part in range(5):
        value = top * part / 4
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            'stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    places = [(steps * part / 4 - 1, f"{steps * part / 4:.0f}") for part in range(5)]
    for place, text in enumerate(ticks) if ticks else places:
        parts.append(
            f'<text x="{x(place):.1f}" y="{TOP + height + 20}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )
    middle = LEFT + width / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="{LEFT}" y="{TOP - 6}">{escape(y_label)}</text>'
    )
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(line.values))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            f'<text x="{LEFT + width + 8}" y="{TOP + 14 + 20 * number}" fill="{colour}">'
            f"{escape(line.name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """Return the next number that is 1, 2, 4, 5 or 8 times a power of ten."""
    scale = 10.0 ** len(str(int(value)))
    return next(scale * part for part in (0.1, 0.2, 0.4, 0.5, 0.8, 1.0) if scale * part >= value)
