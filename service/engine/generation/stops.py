"""Strings that end an answer, found across pieces of its text. Pure."""

from collections.abc import Sequence


class Stops:
    """Lets text pass up to a stop string; what may be the beginning of one is held back."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(filter(None, strings))
        self._held = ""
        self.found = False
        self.rest = ""
        """What came behind the stop string, in the piece that ended with it."""

    def push(self, text: str) -> str:
        """The part of the text so far that can be sent; ``found`` is set once a stop string has
        come."""
        if not self._strings:
            return text
        if self.found:
            return ""
        text = self._held + text
        places = [(at, each) for each in self._strings if (at := text.find(each)) >= 0]
        if places:
            at, string = min(places)
            self.found, self._held, self.rest = True, "", text[at + len(string) :]
            return text[:at]
        held = max(_overlap(text, each) for each in self._strings)
        cut = len(text) - held
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back, at the end of an answer that no stop string ended."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of the text with which the stop string begins."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
