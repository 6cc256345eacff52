"""The agreement of a process that has no others to agree with."""

from service.core.errors import QuantserveError
from service.engine.repository.context import Alone, Ballot, Context


async def test_a_process_without_others_leads_and_agrees_at_once() -> None:
    ballot: Ballot = Alone()
    await ballot.agree("m", 1)
    ballot.refuse(1, QuantserveError("no"))
    assert ballot.leads


def test_each_context_has_a_ledger_and_turns_of_its_own() -> None:
    one, other = (Context(1, lambda _: None) for _ in range(2))
    assert one.ledger is not other.ledger and one.turns is not other.turns
