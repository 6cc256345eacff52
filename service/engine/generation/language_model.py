"""A loaded language model: its decoders, tokenizer and chat template."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.core.errors import InputRejected
from service.core.generation import GenerationRequest
from service.engine.generation.decoder import Decoder
from service.engine.generation.genai_config import LanguageConfig
from service.engine.generation.grammar import Grammars

if TYPE_CHECKING:
    from service.engine.generation.chat_template import ChatTemplate
    from service.engine.generation.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A language model. ``decoders`` run in parallel, each with its own rows. ``context`` is the
    largest number of tokens of a prompt and its answer; ``chunk`` is the largest number of prompt
    tokens in one step. ``figures`` are results of the load, for people; ``grammars`` are for
    answers that have a form."""

    config: LanguageConfig
    tokenizer: "Tokenizer"
    template: "ChatTemplate | None"
    decoders: tuple[Decoder, ...]
    context: int
    chunk: int
    figures: Mapping[str, str]
    grammars: Grammars

    @property
    def slots(self) -> int:
        """Requests that decode at the same time."""
        return sum(decoder.cache.rows for decoder in self.decoders)

    def end_runs(self) -> None:
        """End all current and future runs of the decoders."""
        for decoder in self.decoders:
            decoder.control.terminate = True

    @property
    def cache_bytes(self) -> int:
        """The bytes of the caches when all rows are full."""
        return sum(decoder.cache.most_bytes for decoder in self.decoders)

    @property
    def promised_bytes(self) -> int:
        """The part of ``cache_bytes`` that the caches have not taken yet."""
        held = sum(decoder.cache.held_bytes for decoder in self.decoders)
        return self.cache_bytes - held

    def check(self, model: str, request: GenerationRequest) -> None:
        """Check that the model can run a request.

        Raises:
            InputRejected: the prompt is empty or too long, or a token does not exist.
        """
        prompt, size = request.prompt, self.config.vocab_size
        if not prompt:
            raise InputRejected(
                f'model "{model}": the prompt is empty; it needs at least one token'
            )
        for token in (*prompt, *request.sampling.bias):
            if not 0 <= token < size:
                raise InputRejected(f'model "{model}" has {size} tokens; {token} is not a token id')
        most = request.max_tokens or 1
        if len(prompt) + most > self.context:
            asked = f" and {most} are asked for" if request.max_tokens else ""
            raise InputRejected(
                f'model "{model}" has a context of {self.context} tokens; the prompt has'
                f" {len(prompt)}{asked}, {len(prompt) + most} in all: shorten the prompt"
                f"{' or max_tokens' if request.max_tokens else ''}"
            )
        wanted = request.sampling.logprobs
        if wanted is not None and wanted > size:
            raise InputRejected(f'model "{model}" has {size} tokens; {wanted} logprobs are asked')
