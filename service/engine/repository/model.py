"""A model: its name, its loaded versions, and the version that serves."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from service.config.model import ModelConfig
from service.core.errors import NotFound, NotReady
from service.core.lifecycle import State
from service.core.versions import Pin, View
from service.engine.repository.version import STUCK, UNLOADED, ModelVersion
from service.engine.storage.folder import ModelFolder, Override

NOT_LOADED = "not loaded"
CHANGED = (
    "its files or settings have changed since it was loaded; the loaded version stays in service"
    " until a load or swap checks the new files with the gate"
)


class VersionStatus(NamedTuple):
    """The state of a version, as the repository index shows it. ``number`` is 0 for a model without
    a known version."""

    number: int
    state: State
    reason: str


@dataclass(eq=False, slots=True)
class Model:
    """A name, its versions in memory, and the version that answers requests without a version.

    ``serving`` changes by one assignment, in ``switch``: a request gets either the old version or
    the new one. ``previous`` is kept READY for a rollback. ``versions`` holds the READY versions,
    those being loaded and those that failed. ``retiring`` holds versions that left ``versions`` and
    drain. ``refused`` maps each version that failed to the evidence, ``refusals`` to the reason.
    ``forced`` maps a version to the checks that were waived. ``override`` holds settings that
    override those of the folder. ``pin_in_memory``: the pin was not written to the folder, so the
    folder's pin is ignored. ``blamed`` maps each version that crashed the server under this
    supervisor to the reason. ``proven`` holds the revisions that this server has loaded. ``reason``
    is the reason why no version serves. ``read`` returns the current state of the folder, with the
    overrides applied. Operations on one model hold its lock, one after the other, and change the
    model through the methods here.
    """

    name: str
    folder: ModelFolder
    read: Callable[[Override], ModelFolder | None]
    versions: dict[int, ModelVersion] = field(default_factory=dict)
    serving: ModelVersion | None = None
    previous: ModelVersion | None = None
    forced: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    retiring: set[ModelVersion] = field(default_factory=set)
    override: Override = field(default_factory=dict)
    reason: str = NOT_LOADED
    unloaded: bool = False
    pin_in_memory: bool = False
    blamed: dict[int, str] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def config(self) -> ModelConfig:
        """The settings in the folder."""
        return self.folder.config

    @property
    def on_disk(self) -> tuple[int, ...]:
        """The versions in the folder when it was last read."""
        return self.folder.numbers

    @property
    def quarantined(self) -> dict[int, str]:
        """Versions that crashed the server, with the reason; they do not serve until an operator
        asks for them."""
        return {**self.folder.quarantine, **self.blamed}

    @property
    def active(self) -> set[ModelVersion]:
        """Versions that are loaded, being loaded, or draining."""
        return {
            v for v in self.versions.values() if v.state is not State.UNAVAILABLE
        } | self.retiring

    def look(self, folder: ModelFolder) -> None:
        """Update the state of the folder. Failed versions that left the folder are forgotten."""
        self.folder = replace(folder, pin=self.folder.pin) if self.pin_in_memory else folder
        for number in {*self.versions, *self.refused, *self.forced}.difference(folder.files):
            version = self.versions.get(number)
            if version is None or version.state is State.UNAVAILABLE:
                self.versions.pop(number, None)
                self.refused.pop(number, None)
                self.forced.pop(number, None)

    def current(self, version: ModelVersion) -> bool:
        """True if the files and settings of a READY version on disk have not changed, or are
        gone."""
        number = version.number
        gone = number not in self.folder.files
        return gone or version.revision == self.folder.revision(number)

    @property
    def changed(self) -> set[int]:
        """READY versions whose files or settings on disk have changed since they were loaded."""
        ready = (n for n, found in self.versions.items() if found.state is State.READY)
        return {n for n in ready if not self.current(self.versions[n])}

    def lose(self, version: ModelVersion) -> None:
        """Record that a version has ended because one of its threads does not return. It is not
        loaded again until an operator asks for it."""
        if version is self.previous:
            self.previous = None
        if version is self.serving:
            self.serving, self.reason = None, f"version {version.number}: {STUCK}"
        if self.versions.get(version.number) is version:
            evidence = {each.number: each.evidence for each in self.folder.found()}
            self.refused[version.number] = evidence.get(version.number, "")

    def switch(self, new: ModelVersion, forced: str) -> ModelVersion | None:
        """Let a READY version serve from now on; return the version that served before. ``forced``
        names the checks that were waived."""
        old, self.serving = self.serving, new
        if new is self.previous:
            self.previous = None
        self.versions[new.number] = new
        self.forced[new.number] = forced
        self.reason, self.unloaded = "", False
        return old

    def add(self, version: ModelVersion) -> ModelVersion | None:
        """Add a version; return the version that it replaces, if any.

        If the replaced version was the target of a rollback, the new version becomes the target.
        """
        replaced = self.versions.get(version.number)
        self.versions[version.number] = version
        if replaced is None or replaced is version:
            return None
        if replaced is self.previous:
            self.previous = version
        return replaced

    def withdraw(self, version: ModelVersion) -> None:
        """Remove a version from serving and as the target of a rollback."""
        if version is self.serving:
            self.serving, self.reason = None, f"version {version.number} was unloaded"
        if version is self.previous:
            self.previous = None

    def remove(self, version: ModelVersion) -> None:
        """Forget a version that has stopped, unless another version has replaced it."""
        if self.versions.get(version.number) is version:
            del self.versions[version.number]

    def keep(self, version: ModelVersion) -> None:
        """Keep the version that served before for a rollback, if the settings ask for it."""
        self.previous = version if self.config.versions.keep_previous else None

    def retire(self, version: ModelVersion) -> None:
        """Count a draining version among the active ones, although another has replaced it."""
        self.retiring.add(version)

    def retired(self, version: ModelVersion) -> None:
        """Record that a draining version has stopped."""
        self.retiring.discard(version)

    def begin_load(self, override: Override) -> None:
        """Follow the folder again, with overriding settings. Failed versions may be tried again."""
        self.override, self.unloaded = override, False
        self.forget_refusals()

    def begin_unload(self) -> None:
        """Let no version serve, and ignore the folder until a load or swap."""
        self.override, self.unloaded = {}, True
        self.serving, self.previous, self.reason = None, None, UNLOADED

    def refuse(self, number: int, evidence: str, reason: str) -> None:
        """Record the failure of a version, with the evidence: the version is not tried again."""
        self.refused[number], self.refusals[number] = evidence, reason

    def accept(self, number: int) -> None:
        """Record that a version passed the gate."""
        self.refused.pop(number, None)
        self.refusals.pop(number, None)

    def forget_refusals(self) -> None:
        """Let all failed versions be tried again."""
        self.refused.clear()

    def prove(self, revision: str) -> None:
        """Record that this server has loaded this revision."""
        self.proven.add(revision)

    def blame(self, number: int, reason: str) -> None:
        """Keep a version that crashed the server from serving."""
        self.blamed[number] = reason

    def lift_quarantine(self, numbers: Iterable[int]) -> None:
        """Let versions that crashed the server be tried again."""
        lifted = set(numbers)
        left = {n: why for n, why in self.folder.quarantine.items() if n not in lifted}
        self.folder = replace(self.folder, quarantine=left)
        for number in lifted:
            self.blamed.pop(number, None)

    def pin(self, chosen: Pin | None, in_memory: bool = False) -> None:
        """Set the pin; ``in_memory``: it was not written to the folder."""
        self.folder = replace(self.folder, pin=chosen, pin_problem="")
        self.pin_in_memory = in_memory

    def restore_pin(self, earlier: ModelFolder) -> None:
        """Restore the earlier pin."""
        self.folder = replace(self.folder, pin=earlier.pin, pin_problem=earlier.pin_problem)

    def report_problem(self, text: str) -> None:
        """Record why the folder cannot be followed."""
        self.folder = replace(self.folder, problem=text)

    def explain(self, reason: str) -> None:
        """Set the reason why no version serves, if none does."""
        if self.serving is None:
            self.reason = reason

    def view(self, before: ModelFolder | None = None) -> View:
        """Return a snapshot of the model for ``next_action``. If the pin cannot be read, the
        serving version counts as pinned."""
        folder, serving = self.folder, self.serving.number if self.serving else None
        ready = [v for v in self.versions.values() if v.state is State.READY]
        evidence = {each.number: each.evidence for each in folder.found()}
        refused = {n: evidence[n] for n in self.quarantined if n in evidence} | self.refused
        return View(
            folder.found(before),
            serving if folder.pin_problem else folder.pin.version if folder.pin else None,
            folder.policy,
            tuple((version.number, version.revision) for version in ready),
            serving,
            self.previous.number if self.previous else None,
            frozenset(refused.items()),
        )

    def why_nothing_serves(self) -> str:
        """Return the reason, for people, why no version serves."""
        folder = self.folder
        if self.unloaded:
            return UNLOADED
        if folder.problem:
            return folder.problem
        failed = self.quarantined | {n: v.reason for n, v in self.versions.items() if v.reason}
        if failed:
            return "; ".join(f"version {n}: {failed[n]}" for n in sorted(failed, reverse=True))
        if not folder.numbers:
            return folder.reason or "it has no version folder"
        return "model.toml allows none of the versions on disk"

    def version(self, number: int | None = None) -> ModelVersion:
        """Return a version by its number, or the serving version for None.

        Raises:
            NotFound: the version does not exist, or is not loaded.
            NotReady: ``number`` is None, and no version serves.
        """
        if number is None:
            if self.serving is None:
                raise NotReady(f'model "{self.name}" is UNAVAILABLE: {self.reason}')
            return self.serving
        if number in self.versions:
            return self.versions[number]
        ready = [n for n, found in self.versions.items() if found.state is State.READY]
        loaded = ", ".join(map(str, sorted(ready))) or "none"
        what = "is not loaded" if number in self.on_disk else "does not exist"
        raise NotFound(f'model "{self.name}" version {number} {what} (loaded: {loaded})')

    def status(self) -> list[VersionStatus]:
        """Return the status of every version in memory or on disk, lowest first."""
        quarantined = self.quarantined
        absent = self.folder.problem or (UNLOADED if self.unloaded else NOT_LOADED)
        rows = [
            VersionStatus(n, found.state, found.reason or self._outdated(found))
            if (found := self.versions.get(n))
            else VersionStatus(
                n,
                State.UNAVAILABLE,
                self.folder.of_version(n).problem or quarantined.get(n, absent),
            )
            for n in sorted({*self.versions, *self.on_disk})
        ]
        return rows or [VersionStatus(0, State.UNAVAILABLE, self.reason)]

    def _outdated(self, version: ModelVersion) -> str:
        """A note on a READY version whose files on disk have changed; "" for others."""
        if version.number not in self.changed:
            return ""
        why = self.refusals.get(version.number)
        if why is None:
            return CHANGED
        return f"serves from files that have been replaced; the new files failed: {why}"

    def unfit(self) -> list[VersionStatus]:
        """Return the versions that are broken, or failed when they were loaded, lowest first."""
        away = (NOT_LOADED, UNLOADED)
        rows = [row for row in self.status() if row.number and row.state is State.UNAVAILABLE]
        return [row for row in rows if row.reason and row.reason not in away]
