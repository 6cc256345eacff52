"""Flags override variables, and variables override defaults. Errors are one line that names the
setting."""

from pathlib import Path

import pytest

from service.config.model import ModelConfig, load_model_config
from service.config.settings import Settings, load_settings
from service.core.errors import ConfigError


def test_flags_win_over_variables_and_variables_over_defaults() -> None:
    environment = {"QUANTSERVE_PORT": "9000", "QUANTSERVE_HOST": "0.0.0.0", "PORT": "1"}
    settings = load_settings({"port": "9001"}, environment)
    assert (settings.port, settings.host, settings.cores) == (9001, "0.0.0.0", 0)
    assert load_settings({}, {}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("models", "/srv/models", Path("/srv/models")),
        ("access_log", "true", True),
        ("access_log", "0", False),
        ("body_timeout", "0.5", 0.5),
        ("log_level", "debug", "debug"),
        ("max_body_bytes", "2048", 2048),
    ],
)
def test_texts_are_converted_to_values(name: str, text: str, value: object) -> None:
    assert getattr(load_settings({}, {f"QUANTSERVE_{name.upper()}": text}), name) == value
    assert getattr(load_settings({name: text}, {}), name) == value


@pytest.mark.parametrize(
    ("flags", "environment", "problem"),
    [
        ({"port": "x"}, {}, "--port: .* got 'x'"),
        ({"port": "65536"}, {}, "--port: .*65535, got '65536'"),
        ({"log_level": "loud"}, {}, "--log-level: .*'debug'.*, got 'loud'"),
        ({"body_timeout": "0"}, {}, "--body-timeout: .*greater than 0"),
        ({}, {"QUANTSERVE_PORT": "-1"}, "QUANTSERVE_PORT: .*got '-1'"),
        ({}, {"QUANTSERVE_CORES": "1.5"}, "QUANTSERVE_CORES: "),
        ({}, {"QUANTSERVE_PROT": "1"}, "unknown setting QUANTSERVE_PROT"),
        ({"port": "1"}, {"QUANTSERVE_MODLES": "x"}, "unknown setting QUANTSERVE_MODLES"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    flags: dict[str, object], environment: dict[str, str], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        load_settings(flags, environment)
    assert "\n" not in str(caught.value)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


WHOLE = """
[batching]
max_batch_size = 8
preferred_batch_size = 4
max_queue_delay = 0.001
max_queue_size = 10
timeout = 0.5
combine = "always"
tolerance = 0.01
[batching.padding]
buckets = [16, 32]
values = { ids = 0 }
[instances]
count = 2
kind = "sessions"
threads = 1
[outputs.y]
labels = ["a", "b"]
[probe]
dims = { time = 8 }
"""


def test_every_key_of_a_model_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.toml"
    file.write_text(WHOLE)
    config = load_model_config(file)
    assert config.batching.padding is not None and config.batching.padding.buckets == (16, 32)
    assert (config.instances.kind, config.outputs["y"].labels) == ("sessions", ("a", "b"))
    assert (config.batching.combine, config.probe.dims) == ("always", {"time": 8})
    assert load_model_config(tmp_path / "absent.toml") == ModelConfig()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[batching", "model.toml: "),
        ("\xff", "model.toml: "),
        ("[batching]\nmax_batch = 1", "model.toml: batching.max_batch is not a setting"),
        ("[bathing]", "model.toml: bathing is not a setting"),
        ("[batching]\nmax_batch_size = 0", "model.toml: batching.max_batch_size: .*, got 0"),
        ("[batching]\nmax_queue_delay = 60", "batching.max_queue_delay: "),
        ('[batching]\ncombine = "yes"', "batching.combine: .*'auto', 'always' or 'never'"),
        ("[batching.padding]\nbuckets = []\nvalues = {x = 0}", "batching.padding.buckets: "),
        ("[batching.padding]\nbuckets = [0]\nvalues = {x = 0}", "padding.buckets.0: "),
        ("[batching.padding]\nbuckets = [8]", "batching.padding.values: Field required"),
        ("[instances]\ncount = 0", "instances.count: "),
        ("[probe]\ndims = {n = -1}", "probe.dims.n: "),
    ],
)
def test_errors_in_model_toml_are_named(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "model.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=problem) as caught:
        load_model_config(file)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
