import numpy as np
import pytest

from service.core.language_gate import Forced, language_checks

WANTED = Forced(np.full((2, 10), -1.0, np.float32), np.zeros((2, 10), np.int64))


def forced(logprob: float, others: int) -> Forced:
    top1 = np.zeros((2, 10), np.int64)
    top1.ravel()[:others] = 1
    return Forced(np.full((2, 10), logprob, np.float32), top1)


@pytest.mark.parametrize(
    ("logprob", "others", "passed"),
    [
        (-1.0, 0, [True, True]),
        (-1.04, 3, [True, True]),
        (-1.06, 3, [False, True]),
        (-0.5, 4, [True, False]),
        (-1e6, 0, [False, True]),
        (float("nan"), 0, [False, True]),
    ],
)
def test_default_bounds_of_the_language_gate(
    logprob: float, others: int, passed: list[bool]
) -> None:
    checks = language_checks(forced(logprob, others), WANTED, None, None)
    assert [check.passed for check in checks] == passed


def test_settings_override_the_bounds() -> None:
    ratio, agreement = language_checks(forced(-1.2, 10), WANTED, 1.3, 0.5)
    assert ratio.passed and agreement.passed
    assert ratio.measured == pytest.approx(np.exp(0.2), rel=1e-4)
    assert str(agreement).endswith("top-1 agreement is 0.5, required at least 0.5")
