"""A model changes through its own methods, and its state is consistent after each."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.config.model import ModelConfig
from service.core.errors import NotReady
from service.core.lifecycle import State
from service.core.versions import Pin
from service.engine.repository.model import Model
from service.engine.repository.version import UNLOADED, ModelVersion
from service.engine.storage.folder import ModelFolder, VersionFiles

HOME = Path("models/m")
FILES = VersionFiles(HOME / "1/model.onnx", HOME / "1", HOME, HOME.parent)
NUMBERS = st.integers(1, 3)


def folder(*numbers: int) -> ModelFolder:
    return ModelFolder(HOME, files={number: f"files {number}" for number in numbers})


def model(*numbers: int) -> Model:
    return Model("m", folder(*numbers), lambda _: None)


def version(number: int) -> ModelVersion:
    """A fake version that is READY."""
    made = ModelVersion("m", number, FILES, ModelConfig(), lambda _: None, f"revision {number}")
    made.state = State.READY
    return made


class Operations(RuleBasedStateMachine):
    """A state machine with random operations on a model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = model(1, 2, 3)

    @rule(number=NUMBERS)
    def swap(self, number: int) -> None:
        old = self.model.switch(version(number), "")
        if old is not None:
            self.model.keep(old)

    @precondition(lambda self: self.model.previous is not None)
    @rule()
    def roll_back(self) -> None:
        target, before = self.model.previous, self.model.serving
        assert target is not None
        self.model.switch(target, "")
        if before is not None:
            self.model.keep(before)

    @rule(number=NUMBERS)
    def load(self, number: int) -> None:
        if self.model.serving is None or number != self.model.serving.number:
            replaced = self.model.add(version(number))
            assert replaced is not self.model.previous or replaced is None

    @rule(number=NUMBERS)
    def unload(self, number: int) -> None:
        if found := self.model.versions.get(number):
            self.model.withdraw(found)
            self.model.remove(found)

    @rule()
    def unload_all(self) -> None:
        self.model.begin_unload()
        for found in list(self.model.versions.values()):
            self.model.remove(found)

    @rule(number=NUMBERS)
    def lose(self, number: int) -> None:
        if found := self.model.versions.get(number):
            found.state = State.UNAVAILABLE
            self.model.lose(found)

    @rule(numbers=st.sets(NUMBERS))
    def look(self, numbers: set[int]) -> None:
        self.model.look(folder(*numbers))

    @rule(text=st.text(min_size=1))
    def explain(self, text: str) -> None:
        self.model.explain(text)

    @invariant()
    def either_a_version_serves_or_there_is_a_reason(self) -> None:
        found = self.model
        assert (found.serving is None) == bool(found.reason)
        if found.serving is None:
            with pytest.raises(NotReady, match="UNAVAILABLE"):
                found.version()
        else:
            assert found.version() is found.serving
            assert found.versions[found.serving.number] is found.serving
            assert not found.unloaded

    @invariant()
    def a_rollback_goes_to_another_version_than_the_one_that_serves(self) -> None:
        assert self.model.previous is None or self.model.previous is not self.model.serving


TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_refusals_are_forgotten_when_the_files_are_removed() -> None:
    it = model(1, 2)
    it.refuse(2, "files 2", "it is broken")
    it.look(folder(1))
    assert it.refused == {}
    it.refuse(1, "files 1", "it is broken")
    it.accept(1)
    assert (it.refused, it.refusals.get(1)) == ({}, None)


def test_a_pin_in_memory_survives_a_reread_of_the_folder() -> None:
    it = model(1, 2)
    it.pin(Pin(2, None, False, False, ()), in_memory=True)
    it.look(replace(folder(1, 2), pin=Pin(1, None, False, False, ())))
    assert it.folder.pin is not None and it.folder.pin.version == 2
    it.pin(None)
    it.look(replace(folder(1, 2), pin=Pin(1, None, False, False, ())))
    assert it.folder.pin is not None and it.folder.pin.version == 1


def test_a_quarantine_is_removed_in_memory_and_in_the_folder() -> None:
    it = model(1, 2)
    it.look(replace(folder(1, 2), quarantine={1: "crashed twice", 2: "crashed twice"}))
    it.blame(1, "crashed just now")
    it.lift_quarantine([1])
    assert it.quarantined == {2: "crashed twice"}


def test_requests_to_an_unloaded_model_get_that_reason() -> None:
    it = model(1)
    it.switch(version(1), "")
    it.begin_unload()
    with pytest.raises(NotReady, match=UNLOADED):
        it.version()
    it.begin_load({})
    assert not it.unloaded
