"""The cores and the memory of the machine that this process may use."""

import os
import resource
from pathlib import Path

PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 2**62
"""Bytes; version 1 of cgroups writes about 2**63 where there is no limit."""


def usable_cores(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Return the cores that the process can keep busy: its CPU affinity, reduced to the quota of
    its cgroups.

    A quota of 1.5 counts as 1: with a second thread, the process is throttled for the rest of each
    period, in the middle of a request.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cpu_quota(proc, cgroups)
    cores = affinity or 1
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """Return the smallest CPU quota of the process's cgroup and its parents, in cores.

    Reads version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``) of Linux's control groups.
    None if there is no limit, or no cgroup.
    """
    quotas = []
    for folder in _folders(proc, cgroups):
        limit = _version_2(folder) or _version_1(folder)
        if limit is not None:
            quotas.append(limit)
    return min(quotas, default=None)


def resident_bytes(proc: Path = PROC) -> int:
    """Return the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        pages = int((proc / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_limit(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Return the memory that the process may use, in bytes: the machine's memory, reduced to the
    limit of its cgroups.

    Reads version 2 (``memory.max``) and version 1 (``memory.limit_in_bytes``), where a number
    beyond the machine's memory means that there is no limit.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = cgroup_limit(proc, cgroups)
    return machine if limit is None else min(machine, limit)


def cgroup_limit(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return the smallest memory limit of the process's cgroups and their parents, in bytes; None
    if there is no limit."""
    limits = []
    for folder in _folders(proc, cgroups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            limits += [int(text)] if text.isdigit() and int(text) < UNLIMITED else []
    return min(limits, default=None)


def address_space_left(proc: Path = PROC) -> int | None:
    """Return the bytes of address space that the process may still use; None if there is no
    limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int((proc / "statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))


def _folders(proc: Path, cgroups: Path, controller: str = "cpu") -> list[Path]:
    """Return the folders of the process's cgroups for a controller, and those of their parents.

    In a container, the path that the kernel reports may be outside the mounted folder; then the
    root of the mount is the container's group.
    """
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        here = root / path.lstrip("/")
        folders += [f for f in (here, *here.parents) if f == root or root in f.parents]
    return folders


def _version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
