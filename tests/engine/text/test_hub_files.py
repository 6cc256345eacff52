import json
from pathlib import Path
from typing import Any

import pytest

from service.core.errors import LoadFailed
from service.core.texts import Pooling, Task
from service.engine.text.hub_files import HubFiles, read_hub_files


def read(folder: Path, **files: Any) -> HubFiles:
    for name, content in files.items():
        path = folder / (name.replace("__", "/") + ".json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return read_hub_files(folder, folder)


def test_all_values_are_empty_without_files(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found == HubFiles(None, (), False, None, None, 0, 0, None, False, ())


@pytest.mark.parametrize(
    ("architecture", "labels", "task"),
    [
        ("BertModel", {}, None),
        ("RobertaForSequenceClassification", {"1": "b", "0": "a"}, Task.CLASSIFICATION),
        ("XLMRobertaForSequenceClassification", {"0": "LABEL_0"}, Task.RERANKING),
        ("BertForTokenClassification", {"0": "O"}, Task.TOKEN_CLASSIFICATION),
    ],
)
def test_the_task_follows_from_the_architecture(
    tmp_path: Path, architecture: str, labels: dict[str, str], task: Task | None
) -> None:
    found = read(tmp_path, config={"architectures": [architecture], "id2label": labels})
    assert found.task is task
    assert found.labels == tuple(labels[key] for key in sorted(labels))


@pytest.mark.parametrize("labels", [["a"], {"x": "a"}, {"1": "a"}, None, 3])
def test_labels_of_another_form_are_ignored(tmp_path: Path, labels: Any) -> None:
    assert read(tmp_path, config={"id2label": labels, "architectures": 5}).labels == ()


def test_files_of_sentence_transformers_are_read(tmp_path: Path) -> None:
    kinds = ["models.Transformer", "models.Pooling", "models.Dense"]
    found = read(
        tmp_path,
        modules=[{"type": f"sentence_transformers.{kind}"} for kind in kinds],
        sentence_bert_config={"max_seq_length": 256},
        tokenizer_config={"model_max_length": 512},
        config={"max_position_embeddings": 512, "pad_token_id": 1},
        **{"1_Pooling__config": {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}},
    )
    assert found.pooling is Pooling.CLS and found.normalize is False and found.sentences
    assert (found.max_length, found.positions, found.pad_token) == (256, 512, 1)
    assert found.unknown_modules == ("Dense",)


def test_a_huge_model_max_length_means_no_limit(tmp_path: Path) -> None:
    assert read(tmp_path, tokenizer_config={"model_max_length": 1e30}).max_length == 0


def test_an_invalid_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LoadFailed, match="config.json is not readable"):
        read_hub_files(tmp_path, tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(LoadFailed, match="config.json is not a JSON object"):
        read_hub_files(tmp_path, tmp_path)


def test_links_outside_the_repository_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    home = tmp_path / "models"
    home.mkdir()
    (home / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(LoadFailed, match="config.json leads outside"):
        read_hub_files(home, home)
