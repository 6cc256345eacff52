import signal

import pytest

from service.supervision.process import code_of_end


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (2, 2), (-signal.SIGTERM, 0), (-signal.SIGKILL, 137)]
)
def test_sigterm_is_a_clean_exit_for_a_stopped_process(code: int, expected: int) -> None:
    assert code_of_end(code) == expected
