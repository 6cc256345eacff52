import signal
import subprocess
import sys

import pytest

from service.supervision.process import Child, code_of_end


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (2, 2), (-signal.SIGTERM, 0), (-signal.SIGKILL, 137)]
)
def test_sigterm_is_a_clean_exit_for_a_stopped_process(code: int, expected: int) -> None:
    assert code_of_end(code) == expected


def test_a_child_whose_end_was_missed_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    child = Child(process.pid)
    assert child.poll() == 1
    child.send_signal(signal.SIGTERM)
