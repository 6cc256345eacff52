"""Slots are taken and returned; the lone instance runs batches that are alone."""

from service.core.batching import BatchPolicy
from service.engine.runtime.execution import Instance
from service.engine.runtime.slots import LONE_AFTER, Slots


def instance() -> Instance:
    return Instance(lambda inputs, *_: inputs, BatchPolicy())


def test_each_instance_has_a_slot_ahead() -> None:
    slots = Slots([instance(), instance()], ahead=2)
    taken = [slots.take(), slots.take()]
    assert slots.all_busy and slots.any_free and (slots.busy, slots.under_way) == (2, 2)
    taken += [slots.take(), slots.take()]
    assert not slots.any_free and (slots.busy, slots.under_way) == (2, 4)
    for each in taken:
        slots.give_back(each)
    assert not slots.all_busy and slots.under_way == 0


def test_a_lost_slot_is_neither_free_nor_busy() -> None:
    slots = Slots([instance()], ahead=2)
    slots.take()
    slots.lose()
    assert slots.under_way == 0 and slots.count == 1


def test_the_lone_instance_runs_lone_batches() -> None:
    usual, lone = instance(), instance()
    slots = Slots([usual], lone=lone)
    assert slots.runner(usual, alone=True) is lone
    assert slots.runner(usual, alone=False) is usual
    runners = [slots.runner(usual, alone=True) for _ in range(LONE_AFTER)]
    assert runners == [usual] * (LONE_AFTER - 1) + [lone]


def test_without_a_lone_instance_the_usual_one_runs() -> None:
    usual = instance()
    assert Slots([usual]).runner(usual, alone=True) is usual


def test_a_slower_lone_instance_is_not_used() -> None:
    usual, lone = instance(), instance()
    slots = Slots([usual], lone=lone)
    for runner, seconds in ((lone, 2.0), (usual, 1.0)):
        slots.ran(runner, 1, seconds)
    assert slots.runner(usual, alone=True) is usual
