"""Places the labels of a plot so that they overlap neither each other nor a disc."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LINE = 13.0
"""The height of a line of text."""
STEPS = 6
"""The number of positions above and below a disc that are tried."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the plot; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Return True if the interiors of the boxes overlap."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)

    def within(self, other: "Box") -> bool:
        """Return True if this box is inside the other box."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


@dataclass(frozen=True, slots=True)
class Round:
    """A disc."""

    x: float
    y: float
    radius: float

    @property
    def box(self) -> Box:
        """A square around the disc."""
        # Slightly smaller than the disc: the corners of a full square would block too many labels.
        half = 0.9 * self.radius
        return Box(self.x - half, self.y - half, self.x + half, self.y + half)


def place(
    disc: Round, width: float, discs: Sequence[Round], taken: Sequence[Box], frame: Box
) -> Box:
    """Return a box, ``width`` wide, for the label of a disc. The box is inside the disc if it fits
    there, otherwise at the nearest free place above or below the disc. If no place is free, it is
    just above the disc."""
    others = [other.box for other in discs if other is not disc]
    inside = _box(disc.x, disc.y, width, frame)
    if width < 1.8 * disc.radius and not any(inside.meets(b) for b in (*others, *taken)):
        return inside
    blocked = [*taken, *others, disc.box]
    for box in _around(disc, width, frame):
        if box.within(frame) and not any(box.meets(b) for b in blocked):
            return box
    return next(_around(disc, width, frame))


def _around(disc: Round, width: float, frame: Box) -> Iterator[Box]:
    for step in range(STEPS):
        gap = disc.radius + LINE * (step + 0.5) + 3
        for y in (disc.y - gap, disc.y + gap):
            yield _box(disc.x, y, width, frame)


def _box(x: float, y: float, width: float, frame: Box) -> Box:
    left = min(max(x - width / 2, frame.left), frame.right - width)
    return Box(left, y - LINE / 2, left + width, y + LINE / 2)
