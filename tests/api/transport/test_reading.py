"""Connections are read in turns, and the number of lingering connections is limited."""

import asyncio
from dataclasses import dataclass

from service.api.transport.reading import Lingering, ReadTurns


@dataclass(eq=False)
class Connection:
    """A connection that records whether it waits for its turn."""

    waits: bool = False

    def wait(self, turns: ReadTurns) -> None:
        self.waits = True
        turns.wait(self)

    def end_turn(self) -> None:
        self.waits = False


async def test_one_connection_is_read_in_each_iteration_of_the_event_loop() -> None:
    turns, connections = ReadTurns(), [Connection() for _ in range(3)]
    for connection in connections:
        connection.wait(turns)
    found = []
    for _ in range(4):
        found.append([c.waits for c in connections])
        await asyncio.sleep(0)
    assert found == [[True] * 3, [False, True, True], [False, False, True], [False] * 3]


async def test_a_connection_that_waits_twice_has_one_turn() -> None:
    turns, one = ReadTurns(), Connection()
    one.wait(turns)
    one.wait(turns)
    await asyncio.sleep(0)
    assert not one.waits
    one.wait(turns)
    await asyncio.sleep(0)
    assert not one.waits


class Refused:
    """A connection that was answered, and lingers until it is closed."""

    def __init__(self, lingering: Lingering) -> None:
        self._lingering = lingering
        self.open = True
        lingering.add(self)

    def hang_up(self) -> None:
        self.open = False
        self._lingering.remove(self)


def test_the_longest_lingering_connection_is_closed_first() -> None:
    lingering = Lingering(most=2)
    connections = [Refused(lingering) for _ in range(5)]
    assert [each.open for each in connections] == [False, False, False, True, True]
    connections[3].hang_up()
    Refused(lingering)
    assert connections[4].open


def test_removing_a_connection_that_does_not_linger_does_nothing() -> None:
    lingering = Lingering()
    one = Refused(lingering)
    lingering.remove(one)
    lingering.remove(one)
