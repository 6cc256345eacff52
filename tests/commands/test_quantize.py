"""The flags of ``quantize``: nonsense is refused before anything is read."""

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
def test_a_flag_that_makes_no_sense_is_named(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quantize", "model.onnx", "--data", "random", f"{flag}={value}"])
    assert ended.value.code == 2
    assert f"argument {flag}: " in capsys.readouterr().err
