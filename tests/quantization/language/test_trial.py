from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.quantization.language.trial import reference, tokens_of, trial
from tests import tiny_models
from tests.engine.generation import tiny_llama

TEXTS = np.random.default_rng(0).integers(3, tiny_llama.VOCABULARY, (4, 20))


@pytest.mark.parametrize("context", [32, 128, 512])
def test_a_model_agrees_with_itself(tmp_path: Path, context: int) -> None:
    folder = tiny_llama.write(tmp_path / "tiny/1", context=context)
    found = trial(folder, folder, TEXTS, streams=3, threads=1)
    wanted = reference(folder, TEXTS)
    assert np.array_equal(found.forced.top1, wanted.top1)
    assert found.deviation < 1e-5 and found.load_seconds > 0
    speeds = found.speeds
    assert 0.2 < speeds.token_ratio < 5 and 0.2 < speeds.step_ratio < 5
    assert speeds.token > 0 and speeds.prompt > speeds.token


def test_a_text_is_tokenised(tmp_path: Path) -> None:
    folder = tiny_llama.write(tmp_path / "tiny/1")
    tokens, context = tokens_of(folder, "Hello there")
    assert tokens and context == tiny_llama.CONTEXT
    tiny_models.identity(tmp_path, "FP32")
    with pytest.raises(ConfigError, match="holds no language model"):
        tokens_of(tmp_path / "same_fp32/1", "Hello")
