"""The memory that a process may hold, from the files of control groups."""

from pathlib import Path

import pytest

from service.engine.hardware import memory_limit


@pytest.mark.parametrize(
    ("line", "file"),
    [("0::/a/b", "memory.max"), ("4:memory:/a/b", "memory/memory.limit_in_bytes")],
)
@pytest.mark.parametrize(
    ("text", "limit"), [("1048576", 1048576), ("max", None), (str(2**63), None)]
)
def test_the_limit_is_the_cgroups_where_it_is_less_than_the_machines(
    tmp_path: Path, line: str, file: str, text: str, limit: int | None
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cgroup").write_text(line + "\n")
    groups = tmp_path / "cgroup"
    (groups / file).parent.mkdir(parents=True)
    (groups / file).write_text(text + "\n")
    machine = memory_limit(tmp_path / "none", groups)
    assert machine > 2**20
    assert memory_limit(tmp_path / "proc", groups) == (limit or machine)
