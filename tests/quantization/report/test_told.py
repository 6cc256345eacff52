"""The final output: every file, and commands that can be copied."""

import shlex
from dataclasses import replace
from pathlib import Path

from service.quantization.report.told import told
from tests.quantization.report.test_page import REPORT, row

VERSION = Path("my models/digits/3")
FILES = [VERSION / "model.onnx", VERSION / "report.html", VERSION.parent / "golden.npz"]


def test_files_and_the_next_commands_are_named() -> None:
    lines = told(REPORT, VERSION, FILES, 80).splitlines()
    assert [f"wrote {path}" for path in FILES] == [x for x in lines if x.startswith("wrote ")]
    commands = [shlex.split(line.partition(": ")[2]) for line in lines[-2:]]
    assert commands == [
        ["quantserve", "serve", "--models", "my models"],
        ["quantserve", "swap", "digits", "3"],
    ]


def test_a_recipe_without_its_package_is_reported_in_full() -> None:
    advice = "needs torch: pip install 'quantserve[hqq]'"
    lacking = replace(REPORT, candidates=(*REPORT.candidates, row("HQQ", 1.0, 1.0, advice)))
    assert f"not tried: HQQ {advice}" in told(lacking, VERSION, FILES, 80)
    assert "not tried" not in told(REPORT, VERSION, FILES, 80)
