"""Clients that send much are read in turns, and few that nobody listens to."""

import asyncio
from dataclasses import dataclass

from service.api.transport.reading import Lingering, ReadTurns


@dataclass(eq=False)
class Connection:
    """Notes whether it waits for its turn."""

    waits: bool = False

    def wait(self, turns: ReadTurns) -> None:
        self.waits = True
        turns.wait(self)

    def end_turn(self) -> None:
        self.waits = False


async def test_one_connection_is_read_in_each_turn_of_the_loop() -> None:
    turns, connections = ReadTurns(), [Connection() for _ in range(3)]
    for connection in connections:
        connection.wait(turns)
    found = []
    for _ in range(4):
        found.append([c.waits for c in connections])
        await asyncio.sleep(0)
    assert found == [[True] * 3, [False, True, True], [False, False, True], [False] * 3]


async def test_to_wait_twice_is_to_wait_once() -> None:
    turns, one = ReadTurns(), Connection()
    one.wait(turns)
    one.wait(turns)
    await asyncio.sleep(0)
    assert not one.waits
    one.wait(turns)
    await asyncio.sleep(0)
    assert not one.waits


class Refused:
    """A connection that was answered, and lingers until it hangs up."""

    def __init__(self, lingering: Lingering) -> None:
        self._lingering = lingering
        self.open = True
        lingering.add(self)

    def hang_up(self) -> None:
        self.open = False
        self._lingering.remove(self)


def test_the_one_that_lingers_longest_makes_way() -> None:
    lingering = Lingering(most=2)
    connections = [Refused(lingering) for _ in range(5)]
    assert [each.open for each in connections] == [False, False, False, True, True]
    connections[3].hang_up()
    Refused(lingering)
    assert connections[4].open


def test_to_remove_one_that_does_not_linger_does_nothing() -> None:
    lingering = Lingering()
    one = Refused(lingering)
    lingering.remove(one)
    lingering.remove(one)
