import signal

import pytest

from service.supervision.process import code_of_end


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (2, 2), (-signal.SIGTERM, 0), (-signal.SIGKILL, 137)]
)
def test_a_process_that_was_told_to_end_fails_only_otherwise(code: int, expected: int) -> None:
    assert code_of_end(code) == expected
