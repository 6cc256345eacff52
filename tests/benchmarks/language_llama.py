"""llama.cpp as a peer of ``tests.benchmarks.language``, run by a Python that has llama-cpp-python:

    PYTHON language_llama.py FILE.gguf

One thread, all answers in one batch of sequences, as llama.cpp's server decodes. Each line of
standard input is ``[[text, ...], tokens]``; each line of standard output is the seconds that these
greedy answers took together.
"""

import ctypes
import json
import sys
from time import perf_counter

import llama_cpp as llama
import numpy as np

STREAMS, CONTEXT, BATCH = 8, 512, 512


class Model:
    """A model with a cache for this many streams."""

    def __init__(self, path: str) -> None:
        llama.llama_backend_init()
        self._model = llama.llama_model_load_from_file(
            path.encode(), llama.llama_model_default_params()
        )
        asked = llama.llama_context_default_params()
        asked.n_ctx, asked.n_batch, asked.n_seq_max = STREAMS * CONTEXT, BATCH, STREAMS
        asked.n_threads = asked.n_threads_batch = 1
        self._context = llama.llama_init_from_model(self._model, asked)
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self._width = llama.llama_vocab_n_tokens(self._vocabulary)
        self._batch = llama.llama_batch_init(BATCH, 0, 1)

    def answer(self, texts: list[str], tokens: int) -> None:
        """Generate greedy answers of this many tokens, together."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        prompts = [self._tokens(text) for text in texts]
        entries = [
            (row, place, token, place == len(prompt) - 1)
            for row, prompt in enumerate(prompts)
            for place, token in enumerate(prompt)
        ]
        for step in range(tokens):
            chosen = self._decode(entries)
            entries = [
                (row, len(prompts[row]) + step, token, True) for row, token in enumerate(chosen)
            ]

    def _tokens(self, text: str) -> list[int]:
        found, given = (llama.llama_token * CONTEXT)(), text.encode()
        count = llama.llama_tokenize(
            self._vocabulary, given, len(given), found, CONTEXT, True, True
        )
        return list(found[:count])

    def _decode(self, entries: list[tuple[int, int, int, bool]]) -> list[int]:
        batch = self._batch
        batch.n_tokens = len(entries)
        for index, (row, place, token, scored) in enumerate(entries):
            batch.token[index], batch.pos[index] = token, place
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = scored
        failed = llama.llama_decode(self._context, batch)
        assert not failed, f"llama_decode gives {failed}"
        return [self._best(index) for index, entry in enumerate(entries) if entry[3]]

    def _best(self, index: int) -> int:
        scores = llama.llama_get_logits_ith(self._context, index)
        address = ctypes.cast(scores, ctypes.POINTER(ctypes.c_float))
        return int(np.ctypeslib.as_array(address, (self._width,)).argmax())


def main() -> None:
    """Answer until the input ends."""
    model = Model(sys.argv[1])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        texts, tokens = json.loads(line)
        started = perf_counter()
        model.answer(texts, tokens)
        print(json.dumps(perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
