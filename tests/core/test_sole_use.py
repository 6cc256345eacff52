"""A model is the only one in use after some time without requests for others."""

from service.core.sole_use import SOLE_AFTER, SoleUse


def test_a_model_is_sole_only_after_some_time_without_others() -> None:
    now = 10.0
    use = SoleUse(lambda: now)
    assert not use.is_sole("a") and not use.is_sole("")
    use.note("a")
    assert not use.is_sole("a")
    now += SOLE_AFTER
    use.note("a")
    assert use.is_sole("a") and not use.is_sole("b")
    use.note("b")
    use.note("a")
    assert not use.is_sole("a") and not use.is_sole("b")
    now += SOLE_AFTER
    assert use.is_sole("a")


def test_a_model_that_runs_in_a_thread_is_in_use_until_the_end() -> None:
    now = 10.0
    use = SoleUse(lambda: now)
    use.begin("b")
    use.note("a")
    now += 2 * SOLE_AFTER
    assert not use.is_sole("a")
    use.end("b")
    use.note("a")
    assert not use.is_sole("a")
    use.begin("a")
    now += SOLE_AFTER
    assert use.is_sole("a")
