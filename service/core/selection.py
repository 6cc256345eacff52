"""A selection of models by name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """The models with these names; if ``inverted``, all other models."""

    names: frozenset[str]
    inverted: bool = False

    def __contains__(self, name: str) -> bool:
        return (name in self.names) is not self.inverted


ALL = Selection(frozenset(), inverted=True)
