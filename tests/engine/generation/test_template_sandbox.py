"""Templates that would use unlimited memory or time are stopped."""

from contextlib import suppress
from threading import Thread
from time import monotonic, sleep

import pytest

from service.engine.generation.template_sandbox import BoundedEnvironment, TooMuch, time_limit

DOUBLED = (
    "{{% set n = namespace(x={}) %}}{{% for i in range(40) %}}{{% set n.x = {} %}}{{% endfor %}}"
)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10000000000 }}",
        "{{ 10000000000 * 'a' }}",
        "{{ [1] * 10000000000 }}",
        "{{ 10 ** 100000000 }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ 'a' | center(10000000000) }}",
        "{{ 'a' | indent(10000000000, true) }}",
        "{{ 'a'.ljust(10000000000) }}",
        "{{ ('a' * 60000).replace('a', 'a' * 60000) }}",
        "{{ ('a' * 60000) | replace('a', 'a' * 60000) }}",
        "{{ (['a'] * 60000) | join('a' * 60000) }}",
        "{{ ('a' * 60000).join(['a'] * 60000) }}",
        DOUBLED.format("'aa'", "n.x ~ n.x"),
        DOUBLED.format("'aa'", "n.x + n.x"),
        DOUBLED.format("99", "n.x * n.x"),
    ],
)
def test_templates_that_use_too_much_memory_are_stopped(template: str) -> None:
    started = monotonic()
    with pytest.raises(TooMuch):
        BoundedEnvironment().from_string(template).render()
    assert monotonic() - started < 5


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 'ab' * 3 ~ (1 + 2) }}", "ababab3"),
        ("{{ 7 % 4 }} {{ '%5.1f|%s' % (1.25, 'x') }} {{ 2 ** 10 }}", "3   1.2|x 1024"),
        ("{{ ' a ' | trim | upper }}{{ ['a', 'b'] | join(', ') }}", "Aa, b"),
        ("{{ 'a-b'.replace('-', '+').split('+') | length }}", "2"),
        ("{{ {'a': 1} | items | list }}{{ 'x' if not none else 'y' }}", "[('a', 1)]x"),
        ("{{ 10000000000000 | string }}{{ 'abc'[:2] }}", "10000000000000ab"),
        ("{{ ['a'] + ['b'] }}{{ 'é' | tojson }}", "['a', 'b']\"\\u00e9\""),
    ],
)
def test_common_template_operations_work(template: str, text: str) -> None:
    assert BoundedEnvironment().from_string(template).render() == text


def test_time_is_limited_for_templates_without_output() -> None:
    template = (
        "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}"
    )
    rendered = BoundedEnvironment().from_string(template)
    started = monotonic()
    with pytest.raises(TooMuch), time_limit(0.3):
        rendered.render(x=range(10_000))
    assert monotonic() - started < 3


def test_the_time_limit_raises_nothing_after_its_end() -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(200):
                with suppress(TooMuch), time_limit(0.001):
                    sum(range(30_000))
                "".join(["a"] * 10)
            sleep(0.1)
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert not raised
