"""A check of the gate reads as a sentence, with its figures."""

import pytest

from service.core.checks import LIVE_ROWS, Check, failures

ERROR = Check("golden", "relative error", 0.66667, 0.35, False, "y", "[0, 1] is 3 instead of 1")


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (
            ERROR,
            'golden: relative error of output "y" is 0.6667, required at most 0.35'
            " ([0, 1] is 3 instead of 1)",
        ),
        (
            Check("golden", "cosine", 0.5, 0.9, False),
            "golden: cosine is 0.5, required at least 0.9",
        ),
        (Check("rows", LIVE_ROWS, 0, 8, False), f"rows: {LIVE_ROWS} is 0, required at least 8"),
        (
            Check("memory", "bytes of the process", 2_500_000, 1e6, False),
            "memory: bytes of the process is 2,500,000, required at most 1,000,000",
        ),
        (Check("load", "", "there is no model.onnx", "", False), "load: there is no model.onnx"),
        (
            Check("signature", "inputs", 'no input "x"', "those of the live version", False),
            'signature: inputs is no input "x", required those of the live version',
        ),
    ],
)
def test_a_check_shows_measured_and_required_values(check: Check, text: str) -> None:
    assert str(check) == text


def test_failures_lists_only_failed_checks() -> None:
    passed = Check("golden", "cosine", 1.0, 0.9, True)
    missing = Check("load", "", "no file", "", False)
    assert failures([passed, ERROR, missing]) == f"{ERROR}; load: no file"
    assert failures([passed]) == ""
