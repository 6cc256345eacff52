"""The speed that the report.json of a version states, and whether it applies to this machine."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.core.errors import FileUnreadable
from service.core.names import REPORT_FILE
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import BYTE_PRODUCTS
from service.engine.cpu.profile import Profile
from service.files import read_small

MOST_BYTES = 4 << 20
NO_REPORT = (
    FileUnreadable, OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError,
)  # fmt: skip
"""Errors that reading raises for a file that is not a report of ``quantize``."""
FP32_FORM = "FP32.onnx"
"""Placeholder in a command: the server does not have the FP32 model."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A stated speed: ``speed`` times FP32's speed at batch 1, measured on ``profile``."""

    speed: float
    profile: Profile


def read_promise(home: Path, sha256: str) -> Promise | None:
    """Return the stated speed of a model file with this digest, from the report.json in its folder.

    Return None if there is no readable report for that file. A report is not part of the model.
    """
    try:
        data = read_small(home / REPORT_FILE, MOST_BYTES)
        found = None if data is None else json.loads(data)
        return _promise(found) if found and found["sha256"]["model"] == sha256 else None
    except NO_REPORT:
        return None


def note_on(promise: Promise, here: Profile, name: str, golden: bool) -> str:
    """Return a note for the operator if the speed was measured on another kind of machine; else "".

    ``golden`` is True if the model has a golden set.
    """
    if promise.profile.same_speed(here):
        return ""
    checked = (
        "golden.npz is checked with the kernels used here"
        if golden
        else "there is no golden.npz to check the answers"
    )
    command = ["quantserve", "quantize", FP32_FORM, "--data", "ROWS", "--name", name]
    return (
        f"measured {promise.speed:.2f} x FP32's speed on {promise.profile}; here it is {here}:"
        f" the speed may differ. {checked}. To choose for this machine: {shlex.join(command)}"
    )


def _promise(report: Mapping[str, Any]) -> Promise | None:
    winner = report["decision"]["winner"]
    row = next((each for each in report["candidates"] if each["name"] == winner), None)
    if row is None:
        return None
    values = report.get("profile") or _profile_of(report["hardware"], row["kernels"])
    return Promise(float(row["timing"]["latency_ratio"]), Profile.read(values))


def _profile_of(hardware: Mapping[str, Any], kernels: str) -> dict[str, Any]:
    """Return the profile of a report in the format before ``profile`` was added."""
    present = {each["name"] for each in hardware["features"] if each["present"]}
    return {
        "cpu": hardware["cpu"],
        "architecture": hardware["architecture"],
        "byte_products": [name for name in BYTE_PRODUCTS if name in present],
        "saturates": hardware["saturates"],
        "kernels": Kernels(kernels).value,
    }
