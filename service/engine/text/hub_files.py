"""Reads the files beside the graph in a Hugging Face repository: the model's task, labels, pooling
and lengths. The settings of missing files are unknown.

config.json                the architecture, the labels, and the number of positions
tokenizer_config.json      the longest text
sentence_bert_config.json  the length at which sentence-transformers cuts texts
modules.json               whether embeddings are normalised
1_Pooling/config.json      how tokens are pooled
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.core.hub_labels import labels_of
from service.core.texts import Pooling, Task
from service.engine.storage.hub_json import hub_json, hub_object

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
SENTENCE_CONFIG, MODULES = "sentence_bert_config.json", "modules.json"
POOLING = "1_Pooling/config.json"
ARCHITECTURES = {
    "ForTokenClassification": Task.TOKEN_CLASSIFICATION,
    "ForSequenceClassification": Task.CLASSIFICATION,
}
POOLINGS = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_lasttoken": Pooling.LAST,
}
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
LONGEST = 2**20
"""A larger ``model_max_length`` stands for no limit."""


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The settings in the files; None, 0 or empty for missing settings.

    ``sentences``: there are files of sentence-transformers, whose models cut long texts.
    ``unknown_modules`` are parts of a sentence-transformers model that are not supported.
    ``positions`` is the number of tokens for which the graph has positions.
    """

    task: Task | None
    labels: tuple[str, ...]
    several: bool
    pooling: Pooling | None
    normalize: bool | None
    max_length: int
    positions: int
    pad_token: int | None
    sentences: bool
    unknown_modules: tuple[str, ...]


def read_hub_files(home: Path, root: Path) -> HubFiles:
    """Read the files in a folder. ``root`` is the repository; links that leave it are refused.

    Raises:
        LoadFailed: a file is not JSON, is too large, or is a link that leaves the repository.
    """
    config = hub_object(home, root, CONFIG)
    sentence = hub_object(home, root, SENTENCE_CONFIG)
    pooling = hub_object(home, root, POOLING)
    modules = hub_json(home, root, MODULES)
    tokenizer = hub_object(home, root, TOKENIZER_CONFIG)
    labels = labels_of(config.get("id2label"))
    kinds = _kinds(modules)
    return HubFiles(
        _task(config, labels),
        labels,
        config.get("problem_type") == "multi_label_classification",
        next((kind for key, kind in POOLINGS.items() if pooling.get(key) is True), None),
        "Normalize" in kinds if kinds else None,
        _length(sentence.get("max_seq_length")) or _length(tokenizer.get("model_max_length")),
        _length(config.get("max_position_embeddings")),
        pad if type(pad := config.get("pad_token_id")) is int else None,
        bool(sentence or pooling or kinds),
        tuple(kind for kind in kinds if kind not in KNOWN_MODULES),
    )


def _task(config: Mapping[str, Any], labels: tuple[str, ...]) -> Task | None:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    found = next((task for end, task in ARCHITECTURES.items() if name.endswith(end)), None)
    if found is Task.CLASSIFICATION and len(labels) == 1:
        return Task.RERANKING
    return found


def _kinds(modules: Any) -> list[str]:
    """Return the class names of the modules, without their packages."""
    items = modules if isinstance(modules, list) else []
    return [str(each.get("type")).rpartition(".")[2] for each in items if isinstance(each, dict)]


def _length(value: Any) -> int:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= LONGEST
    return int(value) if usable else 0
