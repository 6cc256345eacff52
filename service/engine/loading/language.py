"""Reads the parts of a language model beside its graph: settings, tokenizer, template."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.config.model import GenerationConfig
from service.core.cache_plan import LEAST_CONTEXT
from service.core.datatypes import DATATYPES
from service.core.errors import LoadFailed
from service.core.tensors import Signature, TensorSpec
from service.engine.generation.decoder import check_graph
from service.engine.generation.genai_config import LanguageConfig, read_config
from service.engine.host.paths import leads_outside
from service.engine.runtime.execution import Control
from service.engine.runtime.session import Session
from service.engine.storage.folder import VersionFiles

if TYPE_CHECKING:
    from service.engine.generation.chat_template import ChatTemplate
    from service.engine.generation.tokenizer import Tokenizer

TEXT = Signature(
    (TensorSpec("text_input", DATATYPES["BYTES"], (1,)),),
    (TensorSpec("text_output", DATATYPES["BYTES"], (1,)),),
)
"""The signature of a language model, with the tensor names of Triton's backends for them."""
SLOTS = 8
"""The number of requests that decode at the same time, unless model.toml sets it."""


@dataclass(frozen=True, slots=True)
class LanguageParts:
    """The parts of a language model beside its graph. ``control`` ends its runs."""

    config: LanguageConfig
    tokenizer: "Tokenizer"
    template: "ChatTemplate | None"
    control: Control

    @property
    def signature(self) -> Signature:
        """The signature of every language model."""
        return TEXT


def read_parts(
    files: VersionFiles, session: Session, given: GenerationConfig, control: Control
) -> LanguageParts:
    """Read the files beside the graph.

    Raises:
        LoadFailed: a file or a package is missing or not usable.
    """
    config = read_config(files.home)
    try:
        from service.engine.generation.chat_template import (
            CONFIG_FILE,
            TEMPLATE_FILE,
            read_chat_template,
        )
        from service.engine.generation.tokenizer import TOKENIZER_FILE, Tokenizer
    except ImportError as error:
        raise LoadFailed(
            f"it is a language model, and {error.name} is not installed;"
            " pip install 'quantserve[llm]'"
        ) from None
    for name in (CONFIG_FILE, TEMPLATE_FILE, TOKENIZER_FILE):
        if leads_outside(files.root, files.home / name):
            raise LoadFailed(f"{name} leads outside the model repository")
    tokenizer = Tokenizer(files.home / TOKENIZER_FILE)
    if tokenizer.size > config.vocab_size:
        raise LoadFailed(
            f"{TOKENIZER_FILE} has {tokenizer.size} tokens, and the model {config.vocab_size}:"
            " they do not belong together"
        )
    check_graph(session.signature, config)
    _check_context(config, given)
    return LanguageParts(config, tokenizer, read_chat_template(files.home), control)


def least_cache_bytes(files: VersionFiles, given: GenerationConfig) -> int:
    """Return the minimum bytes of a useful cache: ``LEAST_CONTEXT`` tokens and ``SLOTS`` slots,
    unless model.toml sets others or the model has a shorter context.

    Raises:
        LoadFailed: genai_config.json cannot be read.
    """
    config = read_config(files.home)
    shape = config.decoder
    each = shape.num_hidden_layers * shape.num_key_value_heads * shape.head_size
    tokens = given.context or min(LEAST_CONTEXT, config.context_length)
    return 2 * each * np.dtype(np.float32).itemsize * tokens * (given.slots or SLOTS)


def _check_context(config: LanguageConfig, given: GenerationConfig) -> None:
    """Check the context in model.toml.

    Raises:
        LoadFailed: model.toml sets a longer context than the model has.
    """
    most = config.context_length
    if given.context is not None and given.context > most:
        raise LoadFailed(
            f"model.toml: generation.context = {given.context}, and the model has {most}"
        )
