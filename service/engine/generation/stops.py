"""Strings that end an answer, found across pieces of its text. Pure."""

from collections.abc import Sequence


class Stops:
    """Passes text on up to a stop string. Text that may be the beginning of a stop string is held
    back."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(filter(None, strings))
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Add a piece of text. Return the text that can be sent; ``found`` is True once a stop
        string has occurred."""
        if not self._strings:
            return text
        if self.found:
            return ""
        text = self._held + text
        places = [(at, each) for each in self._strings if (at := text.find(each)) >= 0]
        if places:
            at, _ = min(places)
            self.found, self._held = True, ""
            return text[:at]
        held = max(overlap(text, each) for each in self._strings)
        cut = len(text) - held
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """Return the text that was held back, at the end of an answer without a stop string."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of the text that is a beginning of the stop string."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
