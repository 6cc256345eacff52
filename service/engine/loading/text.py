"""Loads the parts of a text model beside its graph: tokenizer, task, rows, lengths.

A tokenizer.json beside a graph with token inputs is enough. If the graph has other inputs, or its
task is not clear, the model accepts only tensors, and a note says why it accepts no texts.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.config.model import ModelConfig, PaddingConfig, TextConfig
from service.core.batching import BatchPolicy
from service.core.errors import LoadFailed
from service.core.names import TOKENIZER_FILE
from service.core.tensors import Arrays, Signature, TensorSpec
from service.core.texts import TEXT, Pooling, Task
from service.engine.host.paths import leads_outside
from service.engine.storage.folder import VersionFiles
from service.engine.text.heads import Head
from service.engine.text.hub_files import HubFiles, read_hub_files
from service.engine.text.model import IDS, MASK, ROLES, TextModel, TextSettings

DEFAULT_LENGTH = 512
"""The maximum number of tokens of a text, if no file states the limit of the model."""
FINE, COARSE, LONG = 4, 16, 128
"""Steps between buckets: up to 128 tokens, up to 1,024, and beyond. The fixed cost of a run of
MiniLM is that of 6 tokens. So padding a row by more tokens costs more than sharing the run saves.
"""
LEAST_RUN_TOKENS = 128
"""The minimum for the tokens of a run. Rows of different buckets do not share runs, so most runs
have fewer rows than the limit."""
EXAMPLE_TOKENS = 16
EXAMPLE_ROWS = 8
NAMES = {
    Task.EMBEDDING: (
        "sentence_embedding", "embedding", "embeddings", "last_hidden_state", "token_embeddings",
    ),
    Task.CLASSIFICATION: ("logits",),
    Task.RERANKING: ("logits", "scores"),
    Task.TOKEN_CLASSIFICATION: ("logits",),
}  # fmt: skip
"""The names that exporters use for the output of each task, the likeliest first."""


def read_text(
    files: VersionFiles, signature: Signature, given: TextConfig
) -> tuple[TextModel | None, str]:
    """Return the text model, or None and the reason why the model cannot accept texts.

    Raises:
        LoadFailed: a file is not usable; or model.toml names a task, and the model cannot accept
            texts.
    """
    if given.task == "none":
        return None, ""
    try:
        from service.engine.text.tokenizer import TextTokenizer, longest_of
        from service.engine.text.tokenizer_file import read_tokenizer
    except ImportError as error:
        why = (
            f"the model accepts no texts: {error.name} is not installed;"
            " pip install 'quantserve[text]'"
        )
        return _none(why, given)
    if leads_outside(files.root, files.home / TOKENIZER_FILE):
        raise LoadFailed(f"{TOKENIZER_FILE} leads outside the model repository")
    hub = read_hub_files(files.home, files.root)
    why = _unfit(signature)
    task, output = (None, None) if why else _task(signature, hub, given)
    if task is None or output is None:
        told = why or "the task is not clear; name it in model.toml: [text] task = ..."
        return _none(f"the model accepts no texts: {told}", given)
    if hub.unknown_modules and task is Task.EMBEDDING and _rank(output) == 3:
        told = ", ".join(hub.unknown_modules)
        return _none(f"the model accepts no texts: the graph lacks the modules {told}", given)
    fast = read_tokenizer(files.home / TOKENIZER_FILE)
    longest = _longest(given, hub, longest_of(fast))
    tokenizer = TextTokenizer(fast, longest, offsets=task is Task.TOKEN_CLASSIFICATION)
    truncate = given.truncate if given.truncate is not None else tokenizer.cuts or hub.sentences
    names = [spec.name for spec in signature.inputs]
    pooling = Pooling(given.pooling) if given.pooling else hub.pooling or Pooling.MEAN
    pad = tokenizer.pad_token if tokenizer.pad_token is not None else hub.pad_token
    head = Head(
        task,
        signature.outputs.index(output),
        names.index(MASK) if MASK in names else None,
        len(signature.outputs),
        pooling,
    )
    settings = TextSettings(
        task,
        pooling,
        _normalize(given, hub),
        given.activation or _activation(task, hub),
        longest,
        truncate,
        hub.labels,
        pad or 0,
    )
    width = output.shape[-1] if output.shape else None
    inputs = tuple((spec.name, spec.datatype.dtype) for spec in signature.inputs)
    return (
        TextModel(settings, tokenizer, inputs, head, width if isinstance(width, int) else None),
        "",
    )


def _none(why: str, given: TextConfig) -> tuple[None, str]:
    if given.task is not None:
        raise LoadFailed(f'model.toml: [text] task = "{given.task}", and {why}')
    return None, why


def _unfit(signature: Signature) -> str:
    """Return why the inputs of a graph do not fit the tokens of a text; "" if they fit."""
    names = [spec.name for spec in signature.inputs]
    if IDS not in names:
        return f'the graph has no input "{IDS}"'
    for spec in signature.inputs:
        if spec.name == TEXT or spec.name not in ROLES:
            return f'the graph also has the input "{spec.name}", which no tokenizer provides'
        if spec.datatype.kind != "integer" or len(spec.shape) != 2:
            return f'the input "{spec.name}" is {spec}, expected integers [rows, tokens]'
    return ""


def _task(
    signature: Signature, hub: HubFiles, given: TextConfig
) -> tuple[Task | None, TensorSpec | None]:
    """Return the task, and the output that it uses."""
    wanted = Task(given.task) if given.task else hub.task
    if wanted is None:
        wanted = Task.EMBEDDING  # only with an output of that name
        return wanted, _named(signature, wanted)
    output = _named(signature, wanted)
    if output is None and (given.task or len(signature.outputs) == 1):
        output = signature.outputs[0]
    return wanted, output


def _named(signature: Signature, task: Task) -> TensorSpec | None:
    by_name = {spec.name: spec for spec in signature.outputs}
    return next((by_name[name] for name in NAMES[task] if name in by_name), None)


def _rank(output: TensorSpec) -> int:
    return len(output.shape)


def _longest(given: TextConfig, hub: HubFiles, of_tokenizer: int) -> int:
    """Return the most tokens of a text."""
    longest = given.max_length or hub.max_length or of_tokenizer or DEFAULT_LENGTH
    if not hub.positions or longest <= hub.positions:
        return longest
    if given.max_length:
        raise LoadFailed(
            f"model.toml: [text] max_length = {given.max_length}, and the model has"
            f" {hub.positions} positions"
        )
    return hub.positions


def _normalize(given: TextConfig, hub: HubFiles) -> bool:
    if given.normalize is not None:
        return given.normalize
    return True if hub.normalize is None else hub.normalize


def _activation(task: Task, hub: HubFiles) -> str:
    if task is Task.RERANKING or hub.several:
        return "sigmoid"
    return "softmax"


def for_texts(config: ModelConfig, signature: Signature, text: TextModel) -> ModelConfig:
    """Return the settings of a text model: with buckets for the lengths of texts, unless model.toml
    sets padding or the graph has fixed lengths."""
    lengths = [spec.shape[1] for spec in signature.inputs]
    if config.batching.padding is not None or not all(isinstance(dim, str) for dim in lengths):
        return config
    values = {role: 0.0 for role, _ in text.inputs}
    values[IDS] = float(text.settings.pad_token)
    padding = PaddingConfig(buckets=buckets(text.settings.max_length), values=values)
    batching = config.batching.model_copy(update={"padding": padding})
    return config.model_copy(update={"batching": batching})


def buckets(longest: int) -> tuple[int, ...]:
    """Return the lengths to which texts are padded, up to the longest."""
    made = [
        *range(FINE, 129, FINE),
        *range(128 + COARSE, 1025, COARSE),
        *range(1024 + LONG, 2**15 + 1, LONG),
    ]
    return (*[each for each in made if each < longest], longest)


def example_rows(text: TextModel) -> list[Arrays]:
    """Return rows for the probe: random tokens of the vocabulary, all rows of one length."""
    random = np.random.default_rng(0)
    length = min(EXAMPLE_TOKENS, text.settings.max_length or EXAMPLE_TOKENS)
    rows = []
    for ids in random.integers(0, text.tokenizer.size, (EXAMPLE_ROWS, length)).tolist():
        rows.append(text.arrays([text.tokenizer.encode([ids], 0, truncate=True)[0]], length))
    return rows


def text_policy(
    policy: BatchPolicy, given: TextConfig, text: TextModel, rows: Sequence[Arrays]
) -> BatchPolicy:
    """Return the policy with a limit of tokens a run. Of the head's outputs only those with a value
    for each token are cropped."""
    length = max((array.shape[1] for array in rows[0]), default=1) if rows else EXAMPLE_TOKENS
    padding = policy.padding
    if padding is not None:
        ids = [role for role, _ in text.inputs].index(IDS)
        each = text.head.task is Task.TOKEN_CLASSIFICATION
        cut = ((1, ids, 1),) if each else ()
        cuts = (*padding.cuts, *[cut for _ in text.head.places])
        padding = replace(padding, cuts=cuts, tight=True)
    run_tokens = given.run_tokens or max(LEAST_RUN_TOKENS, policy.preferred_rows * length)
    return replace(policy, padding=padding, run_tokens=run_tokens, fixed=None)
