"""Which beginnings of prompts are found again, in a toy cache that holds the tokens themselves."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.generation.kept_prompts import BLOCK, LEAST, KeptPrompts, Move, Tokens


class Cache:
    """Rows of tokens; the first ``used`` of them are running."""

    def __init__(self, rows: int, used: int = 0) -> None:
        self.kept = KeptPrompts(rows)
        self.rows: list[Tokens] = [()] * rows
        self.used = used

    def run(self, prompt: Tokens) -> int:
        """Read a prompt in the first free row, end it, and return the tokens that were reused."""
        row = self.used
        running = self.rows[:row]
        longest = self.kept.longest(prompt, running)
        reused, moves = self.kept.take(row, prompt, running)
        assert longest == reused
        for source, target, length, kept in moves:
            old = self.rows[target][:kept]
            assert len(self.rows[source]) >= length and len(old) == kept
            self.rows[target] = self.rows[source][:length]
            if kept:
                self.rows[source] = old
        assert self.rows[row][:reused] == prompt[:reused]
        assert reused <= max(0, len(prompt) - 2)
        assert self.rows[: self.used] == running
        self.rows[row] = prompt
        self.kept.keep(row, self.kept.worth_keeping(prompt))
        return reused


def prompt(name: int, length: int, common: int = 0) -> tuple[int, ...]:
    return (-1,) * common + (name,) * (length - common)


def test_the_next_turn_of_a_conversation_is_read_from_the_last_one_on() -> None:
    cache = Cache(2)
    assert cache.run(prompt(1, 600)) == 0
    assert cache.run((*prompt(1, 600), *prompt(2, 50))) == 600
    assert cache.run((*prompt(1, 600), *prompt(2, 50))) == 648, "two tokens are always read"


def test_conversations_that_alternate_keep_their_rows() -> None:
    cache = Cache(4)
    talks = [prompt(name, 100) for name in range(4)]
    assert [cache.run(talk) for talk in talks] == [0] * 4
    for turn in range(3):
        talks = [(*talk, *prompt(9 + turn, 20)) for talk in talks]
        assert [cache.run(talk) for talk in talks] == [100 + 20 * turn] * 4


def test_the_prompt_that_was_used_longest_ago_is_given_up() -> None:
    cache = Cache(2)
    cache.run(prompt(1, 100))
    cache.run(prompt(2, 100))
    cache.run(prompt(3, 100))
    assert cache.run(prompt(2, 100)) == 98
    assert cache.run(prompt(1, 100)) == 0


def test_a_common_beginning_is_copied_and_the_other_prompt_stays() -> None:
    cache = Cache(3)
    cache.run(prompt(1, 500, common=100))
    assert cache.run(prompt(2, 500, common=100)) == 100
    assert cache.run(prompt(1, 500, common=100)) == 498
    assert cache.run(prompt(2, 500, common=100)) == 498


def test_the_beginning_of_a_running_prompt_is_copied() -> None:
    cache = Cache(2, used=1)
    cache.rows[0] = prompt(1, 300)
    assert cache.run(prompt(1, 300)) == 298


def test_a_short_beginning_is_not_used() -> None:
    cache = Cache(2)
    cache.run(prompt(1, 100, common=LEAST - 1))
    assert cache.run(prompt(2, 100, common=LEAST - 1)) == 0
    cache.run(prompt(3, LEAST - 1))
    assert cache.run(prompt(3, LEAST + 10)) == 0
    off = KeptPrompts(2, least=10**9)
    off.keep(0, off.worth_keeping(prompt(1, 100)))
    assert off.take(0, prompt(1, 100), []) == (0, ())


def test_a_prompt_is_kept_once() -> None:
    kept = KeptPrompts(4)
    kept.keep(3, prompt(2, 100))
    kept.keep(1, prompt(1, 40))
    kept.keep(0, prompt(1, 100))
    assert kept.take(0, prompt(3, 50), []) == (0, (Move(0, 1, 100),)), "row 1 held its beginning"
    kept.keep(0, prompt(3, 50))
    assert kept.longest(prompt(2, 100), []) == 98
    # Two rows hold a prompt if its second request began before the first ended.
    kept.keep(0, prompt(1, 100))
    assert kept.take(0, prompt(3, 50), []) == (0, (Move(0, 1, 100),))


def test_an_empty_row_is_used_before_one_with_a_prompt() -> None:
    kept = KeptPrompts(3)
    kept.keep(2, prompt(2, 100))
    kept.keep(0, prompt(1, 100))
    kept.keep(1, ())
    assert kept.take(0, prompt(3, 50), []) == (0, (Move(0, 1, 100),))
    assert kept.clear(1) == (Move(1, 2, 100),), "the prompt in row 2 was used before"


def test_an_exchange_keeps_both_prompts() -> None:
    kept = KeptPrompts(2)
    kept.keep(1, prompt(1, 100))
    kept.keep(0, prompt(2, 40))
    assert kept.take(0, prompt(1, 120), []) == (100, (Move(1, 0, 100, 40),))


lengths = st.one_of(st.integers(0, 60), st.integers(BLOCK - 3, 2 * BLOCK + 3))
prompts = st.tuples(st.integers(1, 3), lengths, st.integers(0, 3), lengths)


@given(st.lists(prompts, max_size=20), st.integers(1, 4), st.integers(0, 2))
def test_a_row_always_holds_what_is_reused(
    given_: list[tuple[int, int, int, int]], free: int, used: int
) -> None:
    cache = Cache(used + free, used)
    for row in range(used):
        cache.rows[row] = prompt(row + 1, 50)
    for first, length, second, more in given_:
        tokens = (*prompt(first, length), *prompt(second, more))
        if tokens:
            reused = cache.run(tokens)
            shared = max((_shared(tokens[:-2], row) for row in cache.rows[:used]), default=0)
            assert reused >= (shared if shared >= LEAST else 0)


def _shared(one: Tokens, other: Tokens) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
