"""Texts of random tokens that a sampler allows."""

import numpy as np

from service.engine.generation.sampling import Sampler, sample
from service.engine.generation.tokenizer import Tokenizer
from tests.engine.generation.tiny_llama import EOS, VOCABULARY


def random_text(tokenizer: Tokenizer, sampler: Sampler, seed: int, most: int) -> str:
    """Return the text of up to ``most`` tokens that are sampled from random scores."""
    random = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < most:
        scores = random.normal(0, 1, (1, VOCABULARY)).astype(np.float32)
        (choice,) = sample(scores, [sampler])
        if choice.token == EOS:
            break
        tokens.append(choice.token)
    return tokenizer.decode(tokens)
