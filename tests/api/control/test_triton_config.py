"""Triton's configuration is translated to settings of model.toml, or refused by field name."""

import json
from typing import Any

import pytest

from service.api.control.triton_config import read_configuration
from service.config.model import ModelConfig
from service.core.errors import MalformedRequest

KNOWN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"name": "m", "platform": "onnxruntime_onnx", "backend": "onnxruntime"}, {}),
    ({"max_batch_size": 16}, {"batching": {"max_batch_size": 16}}),
    ({"maxBatchSize": "16"}, {"batching": {"max_batch_size": 16}}),
    ({"max_batch_size": 64}, {"batching": {"max_batch_size": 64}}),
    ({"max_batch_size": 64, "parameters": {"larger_requests": {"string_value": "cut"}}}, {}),
    (
        {"max_batch_size": 16, "parameters": {"larger_requests": {"string_value": "cut"}}},
        {"batching": {"max_batch_size": 16}},
    ),
    ({"max_batch_size": 0}, {"batching": {"combine": "never"}}),
    ({"dynamic_batching": {}}, {"batching": {"max_queue_delay": 0.0}}),
    (
        {
            "dynamic_batching": {
                "preferred_batch_size": [4, 8],
                "max_queue_delay_microseconds": 500,
                "default_queue_policy": {
                    "max_queue_size": 32,
                    "default_timeout_microseconds": 2_000_000,
                },
            }
        },
        {
            "batching": {
                "max_queue_delay": 0.0005,
                "preferred_batch_size": 8,
                "max_queue_size": 32,
                "timeout": 2.0,
            }
        },
    ),
    ({"instance_group": [{"count": 2, "kind": "KIND_CPU"}]}, {"instances": {"count": 2}}),
    (
        {"parameters": {"intra_op_thread_count": {"string_value": "2"}}},
        {"instances": {"threads": "2"}},
    ),
    (
        {"version_policy": {"latest": {"num_versions": 2}}},
        {"versions": {"policy": "latest", "count": 2}},
    ),
    ({"versionPolicy": {"all": {}}}, {"versions": {"policy": "all"}}),
    (
        {"version_policy": {"specific": {"versions": ["1", 3]}}},
        {"versions": {"policy": "specific", "numbers": (1, 3)}},
    ),
]


@pytest.mark.parametrize(("config", "settings"), KNOWN)
def test_fields_with_a_counterpart_in_model_toml_are_translated(
    config: dict[str, Any], settings: dict[str, Any]
) -> None:
    found = read_configuration("m", json.dumps(config)).settings()
    assert found == settings
    ModelConfig.model_validate(found)


BAD: list[tuple[Any, str]] = [
    ({"sequence_batching": {}}, "config: sequence_batching is not supported; supported are: max"),
    ({"optimization": {"graph": {"level": 1}}}, "config: optimization is not supported"),
    ({"platform": "tensorrt_plan"}, "config: platform with 'tensorrt_plan' is not supported"),
    ({"instance_group": [{"kind": "KIND_GPU"}]}, "instance_group.0.kind with 'KIND_GPU'"),
    ({"instance_group": [{}, {}]}, "config: instance_group"),
    ({"max_batch_size": -1}, "config: max_batch_size"),
    ({"dynamic_batching": {"priority_levels": 2}}, "dynamic_batching.priority_levels is not"),
    ({"version_policy": {"specific": {"versions": []}}}, "version_policy.specific.versions"),
    ({"name": "other"}, 'config: the name is "other", expected "m"'),
    ([], "config is a list"),
]


@pytest.mark.parametrize(("config", "text"), BAD)
def test_fields_without_a_counterpart_are_named_in_the_error(config: Any, text: str) -> None:
    with pytest.raises(MalformedRequest) as error:
        read_configuration("m", json.dumps(config))
    assert text in str(error.value)


def test_a_configuration_that_is_not_json_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="config is not JSON"):
        read_configuration("m", "{")


@pytest.mark.parametrize(
    "config",
    [
        {"session": {"custom_ops": "lib.so"}},
        {"custom_ops": "lib.so"},
        {"parameters": {"custom_ops": {"string_value": "lib.so"}}},
        {"parameters": {"customOps": {"string_value": "lib.so"}}},
        {"model_operations": {"op_library_filename": ["lib.so"]}},
        {"modelOperations": {"opLibraryFilename": ["lib.so"]}},
    ],
)
def test_a_request_cannot_set_a_custom_operator_library(config: dict[str, Any]) -> None:
    with pytest.raises(
        MalformedRequest, match="custom operators are code, which a request must not"
    ):
        read_configuration("m", json.dumps(config))


def test_a_configuration_cannot_change_session_settings() -> None:
    for config, _ in KNOWN:
        assert "session" not in read_configuration("m", json.dumps(config)).settings()
    with pytest.raises(MalformedRequest, match="session is not supported"):
        read_configuration("m", json.dumps({"session": {"kernels": "exact"}}))
