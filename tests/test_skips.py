"""A skip names what to install, and fails if the part is not in the list of optional parts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import HAPROXY, PARTS, RAY
from tests.patience import PATIENCE
from tests.system.process import ROOT

TESTS = """
import pytest
from tests.parts import HAPROXY, RAY

def test_passes(): pass
def test_ray(): RAY.need(False)
@HAPROXY.unless(False)
def test_haproxy(): pass
@HAPROXY.unless(True)
def test_there(): RAY.need(True)
@pytest.mark.xfail
def test_known(): assert False
"""
LISTS = {
    "all are optional": (f"# parts\n{RAY.name}\n{HAPROXY.name}  # balances\n", 0, "skipped=2"),
    "one is not": (f"{HAPROXY.name}\n", 1, f"not for want of an optional part: {RAY.missing}"),
    "none is": ("", 1, f"not for want of an optional part: {HAPROXY.missing}"),
}


def run(tmp_path: Path, text: str, *flags: str) -> tuple[int, str]:
    (tmp_path / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-c", "/dev/null", "-q", "-rfE"]
    done = subprocess.run(
        [*command, *flags, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("case", LISTS)
def test_only_listed_parts_may_be_missing(case: str, tmp_path: Path) -> None:
    text, code, said = LISTS[case]
    (tmp_path / "optional").write_text(text)
    ended, out = run(tmp_path, TESTS, f"--optional={tmp_path}/optional")
    assert ended == code
    assert said in out.replace("2 skipped", "skipped=2")


def test_a_skip_for_another_reason_fails(tmp_path: Path) -> None:
    (tmp_path / "optional").write_text("\n".join(part.name for part in PARTS))
    text = "import pytest\ndef test_it(): pytest.skip('not today')"
    ended, out = run(tmp_path, text, f"--optional={tmp_path}/optional")
    assert ended == 1 and "not for want of an optional part: not today" in out


def test_without_a_list_skips_pass_and_name_what_to_install(tmp_path: Path) -> None:
    ended, out = run(tmp_path, TESTS)
    assert ended == 0
    assert f"{RAY.name}, for 1 test: {RAY.get}" in out
    assert f"{HAPROXY.name}, for 1 test: {HAPROXY.get}" in out


def test_the_list_for_continuous_integration_names_existing_parts() -> None:
    lines = (ROOT / ".ci/optional").read_text().splitlines()
    listed = {line.partition("#")[0].strip() for line in lines} - {""}
    assert listed and listed <= {part.name for part in PARTS}
