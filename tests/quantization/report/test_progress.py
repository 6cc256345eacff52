"""The progress line of a search."""

import io

import pytest

from service.quantization.report.progress import ProgressBar, line
from service.quantization.search.task import Step

STEP = Step(
    "static QDQ U8S8 per-channel, products only, 7-bit weights", 7, 18,
    "static QDQ U8S8 per-tensor, 7-bit weights", 1.45, 83.0,
)  # fmt: skip


@pytest.mark.parametrize("width", [50, 60, 79, 80, 100, 140, 200])
def test_every_width_shows_the_figures(width: int) -> None:
    text = line(STEP, width)
    assert len(text) <= width
    assert "7/18 static" in text
    assert "best: static" in text
    assert text.endswith("1.45 x | 1:23 left")
    assert text.startswith("[") == (width > 60 - 1)


def test_a_wide_terminal_has_a_bar_and_whole_names() -> None:
    text = line(STEP, 200)
    assert text.startswith("[#########...............] 7/18 ")
    assert STEP.doing in text
    assert STEP.best in text


def test_no_gain_is_shown_if_fp32_is_the_best() -> None:
    assert line(Step("FP32", 0, 18, "FP32", 0.0, 0.0), 50) == "0/18 FP32 | best: FP32 | 0:00 left"


def test_a_closed_output_does_not_stop_the_search() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    ProgressBar(Closed())(STEP)
