import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import LoadFailed
from service.core.texts import Pooling, Task
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from service.engine.loading.text import buckets
from tests import tiny_models, tiny_texts
from tests.engine.text.made import loaded


def settings_of(found: Loaded) -> Any:
    assert found.text is not None
    return found.text.settings


def test_an_encoder_with_a_tokenizer_accepts_texts(tmp_path: Path) -> None:
    found = loaded(tmp_path, truncation=8)
    settings = settings_of(found)
    assert (settings.task, settings.pooling, settings.normalize) == ("embedding", "mean", True)
    assert (settings.max_length, settings.truncate, settings.pad_token) == (8, True, 0)
    assert found.signature.texts is not None and found.signature.texts.of_texts
    assert [spec.name for spec in found.signature.inputs][0] == "input_ids"
    assert found.policy.mode is BatchingMode.COMBINE and found.notes == ()
    padding = found.policy.padding
    assert padding is not None and padding.tight and padding.buckets == (4, 8)
    assert found.policy.run_tokens == max(128, found.policy.preferred_rows * 8)


@pytest.mark.parametrize(
    ("write", "task", "activation"),
    [
        (tiny_texts.classifier, Task.CLASSIFICATION, "softmax"),
        (tiny_texts.reranker, Task.RERANKING, "sigmoid"),
        (tiny_texts.tagger, Task.TOKEN_CLASSIFICATION, "softmax"),
    ],
)
def test_the_task_is_read_from_config_json(
    tmp_path: Path, write: Any, task: Task, activation: str
) -> None:
    settings = settings_of(loaded(tmp_path, write))
    assert (settings.task, settings.activation) == (task, activation)
    assert settings.max_length == 64  # the positions of the graph, since no file states fewer


def test_settings_of_model_toml_have_priority_over_files(tmp_path: Path) -> None:
    given = {
        "pooling": "cls",
        "normalize": False,
        "max_length": 10,
        "truncate": False,
        "run_tokens": 77,
    }
    found = loaded(tmp_path, settings={"text": given}, truncation=32)
    settings = settings_of(found)
    assert (settings.pooling, settings.normalize) == (Pooling.CLS, False)
    assert (settings.max_length, settings.truncate, found.policy.run_tokens) == (10, False, 77)


def test_pooled_outputs_are_preferred_to_states(tmp_path: Path) -> None:
    found = loaded(tmp_path, output=tiny_texts.POOLED)
    assert found.text is not None and found.text.width == tiny_texts.WIDTH


def test_the_task_none_disables_texts(tmp_path: Path) -> None:
    found = loaded(tmp_path, settings={"text": {"task": "none"}})
    assert found.text is None and found.text_note == "" and found.signature.texts is None


def test_a_graph_that_ignores_its_mask_is_not_padded(tmp_path: Path) -> None:
    found = loaded(tmp_path, heeds_mask=False)
    assert found.policy.padding is None and "not padded" in found.plan.note


def test_only_tensors_are_served_if_the_task_is_not_clear(tmp_path: Path) -> None:
    found = loaded(tmp_path, tiny_texts.write, output="something")
    assert found.text is None and "the task is not clear" in found.text_note
    with pytest.raises(LoadFailed, match="max_length = 65, and the model has 64 positions"):
        loaded(tmp_path, settings={"text": {"max_length": 65}})


def test_only_tensors_are_served_if_the_graph_has_no_token_input(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    home = tmp_path / "same_fp32/1"
    tiny_texts.tokenizer().save(str(home / "tokenizer.json"))
    found = load(home, ModelConfig(), 1)
    assert found.text is None and 'the graph has no input "input_ids"' in found.text_note
    asked = ModelConfig.model_validate({"text": {"task": "embedding"}})
    with pytest.raises(LoadFailed, match='task = "embedding", and the model accepts no texts'):
        load(home, asked, 1)


def test_unsupported_modules_disable_texts(tmp_path: Path) -> None:
    kinds = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Pooling", "Dense")]
    files = {"modules.json": kinds}
    found = loaded(tmp_path, tiny_texts.write, files=files)
    assert found.text is None and "lacks the modules Dense" in found.text_note
    assert loaded(tmp_path, tiny_texts.write, files=files, output=tiny_texts.POOLED).text


def test_a_broken_tokenizer_fails_the_load(tmp_path: Path) -> None:
    home = tiny_texts.embedder(tmp_path / "tiny/1")
    (home / "tokenizer.json").write_text("{}")
    with pytest.raises(LoadFailed, match="tokenizer.json is not a valid tokenizer"):
        load(home, ModelConfig(), 1)
    (home / "tokenizer.json").unlink()
    (home / "tokenizer.json").symlink_to(tmp_path.parent / "elsewhere")
    with pytest.raises(LoadFailed, match="leads outside the model repository"):
        load(home, ModelConfig(), 1)


def test_a_missing_package_disables_texts_with_a_note(
    tmp_path: Path,
) -> None:
    home = tiny_texts.embedder(tmp_path / "tiny/1")
    script = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from pathlib import Path\n"
        "from service.config.model import ModelConfig\n"
        "from service.engine.loading.loader import load\n"
        f"print(load(Path({str(home)!r}), ModelConfig(), 1).text_note)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "tokenizers is not installed; pip install 'quantserve[text]'" in told


@pytest.mark.parametrize("longest", [1, 8, 64, 100, 512, 8192, 2**20])
def test_buckets_end_with_the_longest_length(longest: int) -> None:
    found = buckets(longest)
    assert found[-1] == longest and list(found) == sorted(set(found)) and len(found) < 400


def test_labels_are_read_from_config_json(tmp_path: Path) -> None:
    found = loaded(tmp_path, tiny_texts.classifier)
    assert found.labels == dict.fromkeys(("logits", "scores"), ("bad", "good", "so"))
    config = json.loads((tmp_path / "tiny/1/config.json").read_text())
    assert list(config["id2label"].values()) == ["bad", "good", "so"]
