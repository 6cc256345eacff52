"""CPU time and memory of a process and its descendants, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
MEGABYTE = 1024.0  # /proc counts in kB


@dataclass(frozen=True, slots=True)
class Memory:
    rss_mb: float
    peak_mb: float


def tree(pid: int) -> list[int]:
    """Return the process and its living descendants."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(child) for child in task.read_text().split()]
    return [pid, *(descendant for child in children for descendant in tree(child))]


def cpu_seconds(pid: int) -> float:
    """Return the user and system time, including ended children that were waited for."""
    return sum(_ticks(member) for member in tree(pid)) * TICK


def busy_seconds() -> float:
    """Return the CPU time of the whole machine, and the time that a hypervisor took."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(value) for value in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * TICK


def memory(pid: int) -> Memory:
    members = [_status(member) for member in tree(pid)]
    return Memory(
        rss_mb=sum(status["VmRSS"] for status in members) / MEGABYTE,
        peak_mb=sum(status["VmHWM"] for status in members) / MEGABYTE,
    )


def proportional_mb(pid: int) -> float:
    """Return the memory of the process and its descendants; shared pages count once."""
    texts = [Path(f"/proc/{member}/smaps_rollup").read_text() for member in tree(pid)]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) / MEGABYTE


def _ticks(pid: int) -> int:
    # the second field is the command in brackets and may itself hold brackets and blanks
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15])


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {key: int(value.split()[0]) for key, value in pairs if key in {"VmRSS", "VmHWM"}}
