"""A decoder graph and its cache: reads chunks of prompts, and computes the next scores of rows.

Keys and values are written in place: the cache is bound to the graph both as its past and as its
present. GroupQueryAttention reads the length of each row from the attention mask, so that rows of
different lengths decode in one run. It accepts several new tokens after a past for one row only.

Some kernels compute a single row differently from several rows, such as those of MatMulNBits on x86
without VNNI. The scores of a row are then the same in any batch of two rows or more. With
``least_rows`` 2, a run of one row includes the row after it, and ignores its scores.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.errors import ExecutionFailed, LoadFailed
from service.core.tensors import Signature
from service.engine.generation.cache import Cache
from service.engine.generation.genai_config import LanguageConfig
from service.engine.generation.sampling import Floats
from service.engine.runtime.execution import Control
from service.engine.runtime.refusals import reason
from service.engine.runtime.session import Session, new_control

MOST_BINDINGS = 4
"""For each row. Runs of several prompts may use any neighbouring rows."""
CACHE_TYPES = {"FP32": np.float32, "FP16": np.float16}
Integers = NDArray[np.int64]


class Traits(NamedTuple):
    """How a graph must be run on this machine, so that no scores depend on the other requests.

    ``least_rows``: 1 or 2, the rows that a run of ``next`` has at least, if the cache has as many.
    ``reads_together``: prompts of one length that are read in one run have the same scores as
    alone. ``reuses``: a prompt has the same scores if its beginning is copied from another row.
    """

    least_rows: int = 1
    reads_together: bool = True
    reuses: bool = True


USUAL = Traits()


class Decoder:
    """A session with one cache. A decoder is not thread-safe; several decoders of a session may run
    in parallel."""

    def __init__(
        self,
        session: Session,
        config: LanguageConfig,
        rows: int,
        context: int,
        control: Control,
        traits: Traits = USUAL,
    ) -> None:
        """Create the cache. ``control`` can end the runs.

        Raises:
            LoadFailed: the graph does not match genai_config.json.
        """
        shape = config.decoder
        dtype = check_graph(session.signature, config)
        cache = (rows, shape.num_key_value_heads, context, shape.head_size)
        self.cache = Cache(shape.num_hidden_layers, cache, dtype)
        self.vocabulary = config.vocab_size
        self._config = shape
        self._given = (session, config)
        self._native = session.native
        self.control = control
        self.traits = traits
        self._least_rows = min(traits.least_rows, rows)
        names = {spec.name for spec in session.signature.inputs}
        self._takes_positions = shape.inputs.position_ids in names
        # Bindings by their rows, the oldest first. Some are kept, because creating one is slow.
        self._bindings: dict[tuple[int, int], Any] = {}

    def beside(self, rows: int, context: int) -> "Decoder":
        """Create another decoder of the same session, with a cache and a control of its own."""
        session, config = self._given
        return Decoder(session, config, rows, context, new_control(), self.traits)

    def read(self, row: int, chunks: Sequence[Sequence[int]], past: int = 0) -> Floats:
        """Read a chunk of a prompt after ``past`` tokens of a row; or without a past, beginnings of
        prompts, all of one length, into the rows from ``row`` on. Return the scores of the next
        tokens, [chunks, vocabulary].

        Raises:
            ExecutionFailed: the graph fails.
        """
        tokens = np.array(chunks, np.int64)
        rows, length = len(tokens), past + tokens.shape[1]
        for each in range(row, row + rows):
            self.cache.reach(each, length)
        mask = np.ones((rows, length), np.int64)
        positions = np.tile(np.arange(past, length, dtype=np.int64), (rows, 1))
        return self._run(row, row + rows, tokens, mask, positions)

    def next(
        self, tokens: Sequence[int], lengths: Sequence[int], next_row_tokens: int = 0
    ) -> Floats:
        """Add a token to each of the first rows, which have ``lengths`` tokens. Return the scores
        of the next tokens, [rows, vocabulary]. ``next_row_tokens``: the tokens at the beginning of
        the row after these that must not be overwritten.

        Raises:
            ExecutionFailed: the graph fails.
        """
        rows = len(tokens)
        if rows < self._least_rows:
            # The run writes a key and a value after the tokens of this row. Its next token
            # overwrites them.
            tokens, lengths = [*tokens, 0], [*lengths, next_row_tokens]
        for row, length in enumerate(lengths):
            self.cache.reach(row, length + 1)
        held = np.array(lengths, np.int64)[:, None]
        mask = (np.arange(int(held.max()) + 1)[None] <= held).astype(np.int64)
        given = np.array(tokens, np.int64)[:, None]
        return self._run(0, len(lengths), given, mask, held)[:rows]

    def _run(
        self, first: int, end: int, tokens: Integers, mask: Integers, positions: Integers
    ) -> Floats:
        binding, names = self._binding(first, end), self._config.inputs
        try:
            binding.bind_cpu_input(names.input_ids, tokens)
            binding.bind_cpu_input(names.attention_mask, mask)
            if self._takes_positions:
                binding.bind_cpu_input(names.position_ids, positions)
            binding.bind_output(self._config.outputs.logits, "cpu")
            self._native.run_with_iobinding(binding, self.control)
            scores: NDArray[Any] = binding.get_outputs()[-1].numpy()  # bound last, a copy
        except Exception as error:
            raise ExecutionFailed(f"the language model failed: {reason(error)}") from error
        finally:
            # The binding would keep its scores, [rows, tokens, vocabulary] in some graphs.
            binding.bind_output(self._config.outputs.logits, "cpu")
        return scores[:, -1].astype(np.float32, copy=False)

    def _binding(self, first: int, end: int) -> Any:
        binding = self._bindings.get((first, end))
        if binding is not None:
            return binding
        binding = self._native.io_binding()
        inputs, outputs = self._config.inputs, self._config.outputs
        names = (
            (inputs.past_key_names, outputs.present_key_names),
            (inputs.past_value_names, outputs.present_value_names),
        )
        for layer, arrays in enumerate(self.cache.layers):
            for (past, present), array in zip(names, arrays, strict=True):
                rows = array[first:end]
                given = ("cpu", 0, self.cache.dtype, rows.shape, rows.ctypes.data)
                binding.bind_input(past.replace("%d", str(layer)), *given)
                binding.bind_output(present.replace("%d", str(layer)), *given)
        if len(self._bindings) >= MOST_BINDINGS * self.cache.rows:
            del self._bindings[next(iter(self._bindings))]
        self._bindings[first, end] = binding
        return binding


def check_graph(signature: Signature, config: LanguageConfig) -> Any:
    """Compare a graph with its genai_config.json. Return the datatype of the cache.

    Raises:
        LoadFailed: they do not match; the message names the tensor.
    """
    shape, specs = config.decoder, {spec.name: spec for spec in signature.inputs}
    wanted = {shape.inputs.input_ids, shape.inputs.attention_mask}
    for layer in range(shape.num_hidden_layers):
        for pattern in (shape.inputs.past_key_names, shape.inputs.past_value_names):
            wanted.add(pattern.replace("%d", str(layer)))
    if missing := sorted(wanted - specs.keys()):
        raise LoadFailed(
            f'genai_config.json names the input "{missing[0]}", which the model does not have;'
            " build it for the execution provider cpu"
        )
    if extra := sorted(specs.keys() - wanted - {shape.inputs.position_ids}):
        raise LoadFailed(f'the language model has the input "{extra[0]}", which is not supported')
    if shape.outputs.logits not in {spec.name for spec in signature.outputs}:
        raise LoadFailed(f'the language model has no output "{shape.outputs.logits}"')
    name = shape.inputs.past_key_names.replace("%d", "0")
    spec = specs[name]
    axes = (shape.num_key_value_heads, shape.head_size)
    fits = len(spec.shape) == 4 and all(
        not isinstance(spec.shape[axis], int) or spec.shape[axis] == size
        for axis, size in zip((1, 3), axes, strict=True)
    )
    if not fits:
        raise LoadFailed(
            f'input "{name}" is {spec}, and genai_config.json says {axes[0]} heads of {axes[1]}'
        )
    if spec.datatype.name not in CACHE_TYPES:
        raise LoadFailed(f'input "{name}" is {spec}, expected FP32 or FP16')
    return CACHE_TYPES[spec.datatype.name]
