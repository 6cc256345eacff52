"""The values of a loaded version, as the loader returns them."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.config.model import ModelConfig
from service.engine.cpu.providers import Provider
from service.engine.loading.loaded import Loaded, with_texts
from service.engine.loading.loader import load
from tests.engine import graphs


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return load(graphs.save(graphs.linear(), tmp_path / "m"), ModelConfig(), 1)


def test_the_kernels_are_named_unless_a_provider_has_its_own(loaded: Loaded) -> None:
    assert loaded.computed_by == loaded.kernels.value
    assert replace(loaded, provider=Provider.OPENVINO).computed_by == "openvino"


def test_only_notes_with_text_are_shown(loaded: Loaded) -> None:
    found = replace(loaded, outputs_note="", kernels_note="k", tuning_note="t", speed_note="")
    assert {"k", "t"} <= set(found.notes) and "" not in found.notes


def test_a_model_without_a_cache_does_not_grow(loaded: Loaded) -> None:
    assert loaded.promised_bytes == 0


def test_a_signature_without_texts_stays_as_it_is(loaded: Loaded) -> None:
    assert with_texts(loaded.signature, None) is loaded.signature
