"""``quantserve quantize`` of the tiny model's folder: so small that nothing is faster than FP32."""

import json
from pathlib import Path

import pytest

from service.commands.quantize import run
from service.config.model import ModelConfig
from service.core.errors import ConfigError
from service.engine.loading.loader import load
from service.engine.storage.language_golden import read_language_golden
from service.quantization.language.pipeline import LanguageOptions, carry_out
from service.quantization.language.source import Form
from tests.engine.generation import tiny_llama
from tests.parts import MODEL_BUILDER, installed
from tests.quantization.language import hugging_face


def options(tmp_path: Path, **given: object) -> LanguageOptions:
    source = tmp_path / "tiny/1"
    if not source.exists():
        tiny_llama.write(source, context=512)
    return LanguageOptions(source, models=tmp_path / "models", **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run, and its output."""
    folder = tmp_path_factory.mktemp("run")
    return folder, carry_out(options(folder, target="size", streams=2))


def test_a_folder_becomes_a_version_with_a_report_and_a_golden_set(told: tuple[Path, str]) -> None:
    folder, text = told
    home = folder / "models/tiny"
    report = json.loads((home / "1/report.json").read_text())
    assert [each["name"] for each in report["candidates"]][:2] == [
        "per-row INT8", "per-row INT8, symmetric",
    ]  # fmt: skip
    for row in (report["reference"], *report["candidates"]):
        assert row["timing"]["rows"] == 2 and row["quality"]["score"] > 0
        assert row["first_token_seconds"] > 0
    golden = read_language_golden(home / "golden.npz", tiny_llama.VOCABULARY, 512)
    assert golden.tokens.shape == (16, 64)
    winner = report["decision"]["winner"]
    assert (winner or "FP32 stays") in text
    loaded = load(home / "1", ModelConfig(), 1)
    assert loaded.language is not None and loaded.language.template is not None
    assert (str(loaded.precision) == "FP32") == (winner is None)
    assert "tokens/s for one stream" in (home / "1/report.html").read_text()
    assert not (home / ".quantize/golden.npz").exists()


@MODEL_BUILDER.unless(all(installed(package) for package in Form.GGUF.value))
def test_a_file_of_llama_cpp_becomes_a_version(tmp_path: Path) -> None:
    source = hugging_face.write_gguf(tmp_path / "tiny.Q8_0.gguf")
    text = carry_out(LanguageOptions(source, models=tmp_path / "models", target="size"))
    assert "note: the weights of tiny.Q8_0.gguf were dequantized to FP32: 16 Q8_0" in text
    home = tmp_path / "models/tiny.Q8_0"
    assert load(home / "1", ModelConfig(), 1).language is not None
    assert not (home / ".quantize").exists(), "nothing else is left"


def test_the_name_is_that_of_the_folder_or_file(tmp_path: Path) -> None:
    (tmp_path / "small.Q4_K.gguf").write_bytes(b"GGUF")
    assert LanguageOptions(tmp_path / "small.Q4_K.gguf").model_name == "small.Q4_K"
    (tmp_path / "link.gguf").symlink_to(tmp_path / "small.Q4_K.gguf")
    assert LanguageOptions(tmp_path / "link.gguf").model_name == "link"
    assert LanguageOptions(tmp_path / "v1.5/2").model_name == "v1.5"
    assert LanguageOptions(tmp_path / "small", name="other").model_name == "other"


def test_an_existing_golden_set_judges_the_next_version(told: tuple[Path, str]) -> None:
    home = told[0] / "models/tiny"
    before = (home / "golden.npz").read_bytes()
    text = carry_out(options(told[0], streams=1))
    assert "judged by the existing golden.npz" in text
    assert (home / "golden.npz").read_bytes() == before
    assert (home / "2/model.onnx").is_file()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "a/b"}, "is not a valid model name"),
        ({"threads": 1000}, "this machine has"),
        ({"text": Path("/nowhere")}, "--text /nowhere: No such file"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, given: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        carry_out(options(tmp_path, **given))
    assert not (tmp_path / "models").exists()


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    asked = options(tmp_path)
    (asked.model / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"there is no tokenizer.json beside"):
        carry_out(asked)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is not a language model: neither a GGUF"):
        carry_out(LanguageOptions(tmp_path / "nothing", models=tmp_path / "models"))
    flags = dict.fromkeys(("name", "target", "streams", "text", "threads"))
    with pytest.raises(ConfigError, match="is not a language model"):
        run(flags | {"model": tmp_path, "models": tmp_path / "models", "name": "a"})


def test_the_command_requires_rows_for_other_models() -> None:
    with pytest.raises(ConfigError, match="give rows with --data"):
        run({"model": Path("x.onnx"), "data": None, "qat": []})
