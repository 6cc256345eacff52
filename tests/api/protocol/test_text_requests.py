from typing import Any

import pytest

from service.api.protocol.openai_requests import read
from service.api.protocol.text_requests import (
    EmbeddingsRequest,
    EmbedRequest,
    PredictRequest,
    RerankRequest,
)
from service.core.errors import BadArgument
from service.core.texts import TextOptions


@pytest.mark.parametrize(
    ("given", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_texts_and_tokens_are_accepted(given: Any, prompts: list[Any]) -> None:
    asked = read(EmbeddingsRequest, {"model": "m", "input": given, "user": "u", "dimensions": 2})
    assert asked.prompts == prompts and asked.options == TextOptions(dimensions=2)
    tei = read(EmbedRequest, {"inputs": given, "normalize": False})
    assert tei.prompts == prompts and tei.options == TextOptions(normalize=False)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": None}, "input"),
        ({"model": ""}, "model"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"inputs": "a"}, "inputs"),
    ],
)
def test_invalid_arguments_are_named_in_the_error(changed: dict[str, Any], param: str) -> None:
    with pytest.raises(BadArgument) as refused:
        read(EmbeddingsRequest, {"model": "m", "input": "a"} | changed)
    assert (refused.value.param or "").split(".")[0] == param


def test_a_query_is_paired_with_each_text() -> None:
    asked = read(RerankRequest, {"query": "q", "texts": ["a", "b"], "raw_scores": True})
    assert asked.prompts == [("q", "a"), ("q", "b")] and asked.options.raw


@pytest.mark.parametrize(
    ("given", "prompts", "single"),
    [
        ("a", ["a"], True),
        (["a"], ["a"], True),
        (["a", "b"], [("a", "b")], True),
        ([["a"], ["b", "c"]], ["a", ("b", "c")], False),
    ],
)
def test_inputs_of_a_prediction(given: Any, prompts: list[Any], single: bool) -> None:
    asked = read(PredictRequest, {"inputs": given})
    assert asked.prompts == prompts and asked.single is single


def test_three_texts_are_not_a_pair() -> None:
    with pytest.raises(BadArgument, match="send a list of lists for a batch"):
        _ = read(PredictRequest, {"inputs": ["a", "b", "c"]}).prompts
