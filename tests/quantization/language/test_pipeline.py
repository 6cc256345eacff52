"""``quantserve quantize`` of the tiny model's folder: so small that nothing is faster than FP32."""

import json
from pathlib import Path

import pytest

from service.commands.quantize import run
from service.config import ModelConfig
from service.core.errors import ConfigError
from service.engine.loading.loader import load
from service.engine.storage.language_golden import read_language_golden
from service.quantization.language.pipeline import LanguageOptions, carry_out
from tests.engine.generation import tiny_llama


def options(tmp_path: Path, **given: object) -> LanguageOptions:
    source = tmp_path / "tiny/1"
    if not source.exists():
        tiny_llama.write(source, context=512)
    return LanguageOptions(source, models=tmp_path / "models", **given)  # type: ignore[arg-type]


def test_a_folder_becomes_a_version_with_a_report_and_a_golden_set(tmp_path: Path) -> None:
    text = carry_out(options(tmp_path, target="size", streams=2))
    home = tmp_path / "models/tiny"
    report = json.loads((home / "1/report.json").read_text())
    assert [each["name"] for each in report["candidates"]][:2] == [
        "per-row INT8", "per-row INT8, symmetric",
    ]  # fmt: skip
    for row in (report["reference"], *report["candidates"]):
        assert row["timing"]["rows"] == 2 and row["quality"]["score"] > 0
    golden = read_language_golden(home / "golden.npz", tiny_llama.VOCABULARY, 512)
    assert golden.tokens.shape == (16, 64)
    winner = report["decision"]["winner"]
    assert (winner or "FP32 stays") in text
    loaded = load(home / "1", ModelConfig(), 1)
    assert loaded.language is not None and loaded.language.template is not None
    assert (str(loaded.precision) == "FP32") == (winner is None)
    assert "tokens/s for one stream" in (home / "1/report.html").read_text()
    assert not (home / ".quantize/golden.npz").exists()


def test_what_is_there_judges_the_next_version(tmp_path: Path) -> None:
    carry_out(options(tmp_path))
    before = (tmp_path / "models/tiny/golden.npz").read_bytes()
    text = carry_out(options(tmp_path))
    assert "judged by the golden.npz that was there" in text
    assert (tmp_path / "models/tiny/golden.npz").read_bytes() == before
    assert (tmp_path / "models/tiny/2/model.onnx").is_file()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "a/b"}, "is not a name for a model"),
        ({"threads": 1000}, "this machine has"),
        ({"text": Path("/nowhere")}, "--text /nowhere: No such file"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, given: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        carry_out(options(tmp_path, **given))
    assert not (tmp_path / "models").exists()


def test_a_folder_that_is_not_usable_is_told(tmp_path: Path) -> None:
    asked = options(tmp_path)
    (asked.model / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"there is no tokenizer.json beside"):
        carry_out(asked)


def test_the_command_needs_rows_for_other_models() -> None:
    with pytest.raises(ConfigError, match="give rows with --data"):
        run({"model": Path("x.onnx"), "data": None, "qat": []})
