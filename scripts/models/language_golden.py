"""Write the golden set of a language model, by which the gate judges its quantized versions:

    python scripts/models/language_golden.py FP32_VERSION models/NAME/golden.npz [--text FILE]

The model, in FP32, is led through texts; what it says of each token is the reference. Without
--text it is Python's own help, which every installation has: give text of the kind that is asked.
"""

import argparse
from pathlib import Path
from pydoc_data import topics

import numpy as np

from service.config import ModelConfig
from service.engine.generation.teacher import force
from service.engine.loading.loader import load


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", type=Path, help="folder of the FP32 version")
    parser.add_argument("golden", type=Path, help="file to write")
    parser.add_argument("--text", type=Path, help="UTF-8 text")
    parser.add_argument("--texts", type=int, default=16, help="pieces of it (default: 16)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens in each (default: 64)")
    asked = parser.parse_args()
    language = load(asked.version.resolve(), ModelConfig(), 1).language
    if language is None:
        raise SystemExit(f"{asked.version} holds no language model")
    text = asked.text.read_text("utf-8") if asked.text else _help()
    tokens = language.tokenizer.encode(text, special=False)
    size = asked.texts * asked.tokens
    if len(tokens) < size:
        raise SystemExit(f"the text has {len(tokens)} tokens, {size} are needed")
    texts = np.array(tokens[:size], np.int64).reshape(asked.texts, asked.tokens)
    forced = force(language.decoders[0], texts)
    np.savez_compressed(
        asked.golden, tokens=texts.astype(np.int32), logprobs=forced.logprobs, top1=forced.top1
    )
    perplexity = np.exp(-forced.logprobs.mean(dtype=np.float64))
    print(f"{asked.golden}: {asked.texts} x {asked.tokens} tokens, perplexity {perplexity:.2f}")


def _help() -> str:
    names = sorted(topics.topics)[5:60]
    return "\n".join(" ".join(topics.topics[name].split()) for name in names)


if __name__ == "__main__":
    main()
