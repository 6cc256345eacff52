"""--optional=FILE: tests may be skipped if parts that the file lists are missing; other skips fail.

At the end, the missing parts are listed, with the commands that install them.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.parts import Part, part_of

FILE = pytest.StashKey[frozenset[str]]()
MISSED = pytest.StashKey[Counter[Part]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--optional",
        type=Path,
        metavar="FILE",
        help="names of parts, one a line, that may be missing; other skips fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MISSED] = Counter()
    file: Path | None = config.getoption("--optional")
    if file is not None:
        lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
        config.stash[FILE] = frozenset(filter(None, lines))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> "pytest.TestReport":
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        assert isinstance(report.longrepr, tuple)
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        part = part_of(reason)
        if part is not None:
            item.config.stash[MISSED][part] += 1
        allowed = item.config.stash.get(FILE, None)
        if allowed is not None and (part is None or part.name not in allowed):
            report.outcome = "failed"
            report.longrepr = f"skipped, and not for want of an optional part: {reason}"
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    missed = config.stash[MISSED]
    if missed:
        terminalreporter.section("parts that were not there")
    for part, count in sorted(missed.items(), key=lambda each: each[0].name):
        tests = "test" if count == 1 else "tests"
        terminalreporter.write_line(f"{part.name}, for {count} {tests}: {part.get}")
