"""Compares the scores of a converted graph with those of transformers. Runs in a worker.

The model builder converts some architectures wrongly and reports no error, such as OLMo, whose
norms have no weights.
"""

from pathlib import Path

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array
from service.engine.generation.genai_config import read_config
from service.quantization.language.trial import reference

TOKENS = 32
MOST = 0.1
"""The largest difference allowed between logarithms of a token's probability. Rounding in FP32
changes them by 1e-5 to 1e-4."""


def check_agreement(folder: Path, built: Path) -> None:
    """Compare the scores of a Hugging Face folder with those of the version that was built from it.

    Raises:
        ConfigError: the scores differ.
        LoadFailed: the version cannot be served.
    """
    config = read_config(built)
    length = min(TOKENS, config.context_length)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, length))
    wanted, got = _logprobs(folder, tokens), reference(built, tokens).logprobs
    moved = float(np.abs(wanted - got).max())
    if not moved <= MOST:
        raise ConfigError(
            "the graph differs from the model: the logarithms of probabilities differ by"
            f" {moved:.3g}, at most {MOST} is allowed; onnxruntime-genai's builder does not convert"
            " this architecture correctly"
        )


def _logprobs(folder: Path, tokens: Array) -> Array:
    """Return the log-probability of each token but the first, given the tokens before it."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        scores = model(torch.from_numpy(tokens)).logits.float()
    found = torch.log_softmax(scores, -1).numpy()[:, :-1]
    return np.take_along_axis(found, tokens[:, 1:, None], 2)[..., 0]
