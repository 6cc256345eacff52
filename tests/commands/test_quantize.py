"""The flags of ``quantize``: invalid values are refused before any file is read."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--rows", "0"), ("--rows", "-1"), ("--threads", "-1"), ("--max-batch-size", "0"),
        ("--seed", "-1"), ("--seed", "x"), ("--budget", "0"), ("--budget", "soon"),
        ("--max-drop", "nan"), ("--max-drop", "150%"), ("--target", "speed"),
    ],
)  # fmt: skip
def test_invalid_flags_are_named(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quantize", "model.onnx", "--data", "random", f"{flag}={value}"])
    assert ended.value.code == 2
    assert f"argument {flag}: " in capsys.readouterr().err


def test_the_signature_of_a_metric_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["quantize", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "labels: numpy.ndarray | None) -> float" in text


def test_without_onnx_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError('no', name='onnx')")
    done = subprocess.run(
        [sys.executable, "-m", "service", "quantize", "model.onnx", "--data", "random"],
        capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)},
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 2
    assert "this command needs onnx: pip install 'quantserve[quantize]'" in done.stderr
    assert "'.[quantize]'" in done.stderr
