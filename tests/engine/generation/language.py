"""Parts of language models for tests: a tokenizer of 512 tokens, and templates."""

import json
from functools import cache
from pathlib import Path
from pydoc_data import topics

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BEGIN, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""A short form of SmolLM2's template."""
TOOL_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\n' + tools | tojson + ' <tool_call></tool_call>' }}"
    "{{ '<|im_end|>\\n' }}{% endif %}{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content }}"
    "{% for call in message.tool_calls or [] %}{{ '<tool_call>' + {'name': call.function.name,"
    " 'arguments': call.function.arguments} | tojson + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)
"""A template in the form of Hermes and Qwen, which shows the callable functions to the model."""
TEXT = "".join(topics.topics[name] for name in sorted(topics.topics)[:20])
"""Text of Python's help: English, and long enough for all 512 tokens."""


@cache
def tokenizer_json() -> str:
    """Return a byte-level tokenizer, of the same kind as GPT-2's and SmolLM2's."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator([TEXT], trainer)
    return str(found.to_str())


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files to a model's folder."""
    (folder / "tokenizer.json").write_text(tokenizer_json())
    (folder / "tokenizer_config.json").write_text(
        '{"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "pad_token": null}'
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def write_tokens(folder: Path, *texts: str) -> list[int]:
    """Give the last tokens of the tokenizer in a folder other texts, so that the biases of a
    request can make a model with random weights write them. Return their ids."""
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    model = found["model"]
    by_id = {token: text for text, token in model["vocab"].items()}
    ids = list(range(len(by_id) - len(texts), len(by_id)))
    # A merge names the texts of its tokens; the last tokens are parts of no other token.
    model["merges"] = model["merges"][: -len(texts)]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for token, text in zip(ids, texts, strict=True):
        del model["vocab"][by_id[token]]
        ((encoded, _),) = byte_level.pre_tokenize_str(text)
        model["vocab"][encoded] = token
    path.write_text(json.dumps(found))
    return ids
