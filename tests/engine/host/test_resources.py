"""The cores and memory that the process may use: affinity and the limits of its cgroups."""

import mmap
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from service.engine.host.resources import (
    address_space_left,
    cpu_quota,
    memory_limit,
    resident_bytes,
    usable_cores,
)
from tests.parts import LINUX

HOST = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(tmp_path: Path, membership: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Stand-ins for /proc/self and /sys/fs/cgroup."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroups.mkdir()
    (proc / "cgroup").write_text(membership)
    for name, text in files.items():
        file = cgroups / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return proc, cgroups


V1 = "cpu/docker/1/cpu.cfs_"
QUOTAS = {
    "version 2, in a container": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
    "version 2, no limit": ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    "version 2, own group": ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, 0.5),
    "version 2, the tightest counts": (
        "0::/a/b\n",
        {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"},
        2.0,
    ),
    "version 2, path of the host": ("0::/host/path\n", {"cpu.max": "300000 100000\n"}, 3.0),
    "version 2, outside of what is mounted": ("0::/../x\n", {"cpu.max": "300000 100000\n"}, 3.0),
    "version 1": (
        "4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n",
        {f"{V1}quota_us": "250000\n", f"{V1}period_us": "100000\n"},
        2.5,
    ),
    "version 1, no limit": (
        "4:cpu,cpuacct:/docker/1\n",
        {f"{V1}quota_us": "-1\n", f"{V1}period_us": "100000\n"},
        None,
    ),
    "version 1, path of the host": (
        "4:cpuacct,cpu:/docker/1\n",
        {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "50000\n"},
        2.0,
    ),
    "both, with the limit in version 1": (
        "4:cpu:/docker/1\n0::/system\n",
        {f"{V1}quota_us": "100000\n", f"{V1}period_us": "100000\n", "system/cgroup.procs": ""},
        1.0,
    ),
    "another controller's quota": (
        "5:cpuset:/docker/1\n",
        {f"{V1}quota_us": "100000\n", f"{V1}period_us": "100000\n"},
        None,
    ),
    "garbage": ("no colons\n0::/\n", {"cpu.max": "soon\n"}, None),
    "a period of nothing": ("0::/\n", {"cpu.max": "100000 0\n"}, None),
    "no groups at all": ("", {}, None),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_the_quota_of_a_control_group(case: str, tmp_path: Path) -> None:
    membership, files, quota = QUOTAS[case]
    proc, cgroups = machine(tmp_path, membership, files)
    assert cpu_quota(proc, cgroups) == quota


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000", 1), ("100000", 1), ("150000", 1), ("99900000", HOST)]
)
def test_a_fraction_of_a_core_adds_no_thread(quota: str, cores: int, tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, "0::/\n", {"cpu.max": f"{quota} 100000\n"})
    assert usable_cores(proc, cgroups) == min(cores, HOST)


def test_a_system_without_proc_uses_its_affinity(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "a", tmp_path / "b") is None
    assert usable_cores(tmp_path / "a", tmp_path / "b") == HOST
    assert resident_bytes(tmp_path / "a") == 0


@LINUX.unless(hasattr(os, "sched_setaffinity"))
def test_a_process_bound_to_one_core_uses_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from service.engine.host.resources import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def test_resident_memory_is_measured() -> None:
    before = resident_bytes()
    with mmap.mmap(-1, 2**25) as block:  # fresh pages: the heap may have some that are resident
        block.write(os.urandom(64) * 2**19)
        assert resident_bytes() - before > 0.8 * len(block)


@pytest.mark.parametrize(
    ("line", "file"),
    [("0::/a/b", "memory.max"), ("4:memory:/a/b", "memory/memory.limit_in_bytes")],
)
@pytest.mark.parametrize(
    ("text", "limit"), [("1048576", 1048576), ("max", None), (str(2**63), None)]
)
def test_the_memory_limit_is_the_smaller_of_cgroup_and_machine(
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


def test_the_rest_of_a_limited_address_space_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    assert address_space_left() is None
    monkeypatch.setattr("resource.getrlimit", lambda _: (2**50, 2**50))
    left = address_space_left()
    assert left is not None and 0 < left < 2**50
    monkeypatch.setattr("resource.getrlimit", lambda _: (1, 1))
    assert address_space_left() == 0
