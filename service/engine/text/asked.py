"""One request in text: its texts, the groups that are run, and the answer. The function ``groups``
is called in a thread, everything else on the event loop."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.core.batching import BatchingMode, BatchPolicy
from service.core.errors import QuantserveError
from service.core.memory_budget import Reservation
from service.core.requests import Terms
from service.core.tensors import Array, Arrays
from service.core.texts import Group, Prompt, TextOptions, grouped
from service.engine.runtime.replies import Reply, answer
from service.engine.text.model import TextModel
from service.engine.text.tokenizer import Tokens


class Ready(NamedTuple):
    """A group of texts and the inputs of its run."""

    group: Group
    arrays: Arrays


class Asked:
    """A request in text. ``prompts`` are its texts; ``tokens`` are the tokens of the texts that
    have been tokenised. ``ready`` are the groups that are not queued yet; ``under_way`` counts the
    groups that are queued or running. ``entering`` is True while groups are being queued."""

    def __init__(
        self, prompts: Sequence[Prompt], terms: Terms, options: TextOptions, reply: Reply
    ) -> None:
        self.prompts = prompts
        self.terms = terms
        self.options = options
        self.reply = reply
        self.tokens: list[Tokens] = []
        self.ready: list[Ready] = []
        self.under_way = 0
        self.entering = False
        # The rest of the state: the known rows of each output; the number of texts without a row;
        # the reserved memory; and whether the request has ended.
        self._rows: list[dict[int, Array]] = []
        self._missing = len(prompts)
        self._held: list[Reservation] = []
        self._over = False

    @property
    def missing(self) -> int:
        """The number of texts that have not been run."""
        return self._missing

    @property
    def counted(self) -> int:
        """The number of tokens of all texts."""
        return sum([len(each.ids) for each in self.tokens])

    @property
    def found(self) -> list[list[Array]]:
        """The rows of each output, in the order of the texts."""
        order = range(len(self.prompts))
        return [[rows[place] for place in order] for rows in self._rows]

    def done(self) -> bool:
        """Return whether the request is answered, or its client has disconnected."""
        return self._over or self.reply.done()

    def reserve(self, size: int) -> None:
        """Reserve bytes until the request ends.

        Raises:
            ResponseTooLarge, MemoryFull: there is no room for them.
        """
        if self.terms.memory is not None and (held := self.terms.memory(size)) is not None:
            self._held.append(held)

    def put(self, group: Group, outputs: Arrays) -> bool:
        """Store the outputs of a group. Return True if all texts have their outputs.

        Raises:
            ResponseTooLarge, MemoryFull: there is no room for the outputs of all texts.
        """
        self.under_way -= 1
        if not self._rows:
            self._rows = [{} for _ in outputs]
            texts = len(self.prompts)
            if texts > len(group.places):
                size = sum([array.nbytes for array in outputs])
                self.reserve(size * texts // len(group.places))
        for rows, array in zip(self._rows, outputs, strict=True):
            rows.update(zip(group.places, array, strict=True))
        self._missing -= len(group.places)
        return not self._missing

    def close(self) -> None:
        """End the request, and release its memory."""
        self._over, self.ready = True, []
        for each in self._held:
            each.release()
        self._held = []

    def resolve(self, result: Arrays | QuantserveError) -> None:
        """Answer the request, unless it has ended."""
        if not self._over:
            self.close()
            answer(self.reply, result)


Ended = Callable[[Asked, Group, Arrays | QuantserveError], None]


class GroupReply:
    """The reply for one group of a request; ``ended`` is called with its outputs or its error."""

    __slots__ = ("_asked", "_group", "_ended")

    def __init__(self, asked: Asked, group: Group, ended: Ended) -> None:
        self._asked, self._group, self._ended = asked, group, ended

    def done(self) -> bool:
        """Return whether the request is answered, or its client has disconnected."""
        return self._asked.done()

    def set_result(self, outputs: Arrays) -> None:
        """Pass on the outputs of the group."""
        self._ended(self._asked, self._group, outputs)

    def set_exception(self, error: BaseException) -> None:
        """Pass on the error of the group."""
        assert isinstance(error, QuantserveError), "batchers raise no other errors. This is a bug."
        self._ended(self._asked, self._group, error)


def groups(model: TextModel, policy: BatchPolicy, tokens: Sequence[Tokens]) -> list[Ready]:
    """Return the groups of a request's texts, with the inputs of each group.

    If rows share runs, texts of one bucket form a group; without padding, only texts of equal
    length do. If each request has a run of its own, each text is a group.
    """
    padding, mode, inputs = policy.padding, policy.mode, len(model.inputs)

    def most_rows(length: int) -> int:
        if mode is BatchingMode.COMBINE:
            return policy.rows_for(((length,),) * inputs)
        return policy.max_rows if mode is BatchingMode.ROWS else 1

    bucket = padding.bucket if padding is not None else int
    made = grouped([len(each.ids) for each in tokens], bucket, most_rows)
    return [
        Ready(each, model.arrays([tokens[place] for place in each.places], each.longest))
        for each in made
    ]
