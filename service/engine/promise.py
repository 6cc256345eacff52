"""The speed that a version's report.json promises, and whether it can hold on this machine."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.core.errors import FileUnreadable
from service.engine.folder import REPORT_FILE
from service.engine.kernels import Kernels
from service.engine.machine import BYTE_PRODUCTS
from service.engine.profile import Profile
from service.files import read_small

MOST_BYTES = 4 << 20
NO_REPORT = (
    FileUnreadable, OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError,
)  # fmt: skip
"""What is raised where a file is no report.json of ours."""
FP32_FORM = "FP32.onnx"
"""Stands for a file that the server does not have, in a command that is told."""


@dataclass(frozen=True, slots=True)
class Promise:
    """How many times as fast as FP32 a model was at batch 1, and where."""

    speed: float
    profile: Profile


def read_promise(home: Path, sha256: str) -> Promise | None:
    """The promise of the report.json in a version's folder for a file with this digest; None where
    there is none, or none that can be read: a report is no part of the model."""
    try:
        data = read_small(home / REPORT_FILE, MOST_BYTES)
        found = None if data is None else json.loads(data)
        return _promise(found) if found and found["sha256"]["model"] == sha256 else None
    except NO_REPORT:
        return None


def note_on(promise: Promise, here: Profile, name: str, golden: bool) -> str:
    """What an operator should know where the speed of a version was measured on another kind of
    machine; "" elsewhere.

    ``golden``: whether there are answers that every version must reproduce.
    """
    if promise.profile.same_speed(here):
        return ""
    checked = (
        "golden.npz is checked with the kernels taken here"
        if golden
        else "there is no golden.npz to check answers by"
    )
    command = ["quantserve", "quantize", FP32_FORM, "--data", "ROWS", "--name", name]
    return (
        f"measured {promise.speed:.2f} x FP32's speed on {promise.profile}; here it is {here}:"
        f" that speed need not hold. {checked}. To choose by this machine: {shlex.join(command)}"
    )


def _promise(report: Mapping[str, Any]) -> Promise | None:
    winner = report["decision"]["winner"]
    row = next((each for each in report["candidates"] if each["name"] == winner), None)
    if row is None:
        return None
    values = report.get("profile") or _profile_of(report["hardware"], row["kernels"])
    return Promise(float(row["timing"]["latency_ratio"]), Profile.read(values))


def _profile_of(hardware: Mapping[str, Any], kernels: str) -> dict[str, Any]:
    """The profile of a report that was written before it had one."""
    present = {each["name"] for each in hardware["features"] if each["present"]}
    return {
        "cpu": hardware["cpu"],
        "architecture": hardware["architecture"],
        "byte_products": [name for name in BYTE_PRODUCTS if name in present],
        "saturates": hardware["saturates"],
        "kernels": Kernels(kernels).value,
    }
