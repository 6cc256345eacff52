import sys

import pytest

from service.core.errors import InputRejected, NotSupported
from service.core.generation import Form, SamplingParameters
from service.engine.generation.grammar import Grammars
from service.engine.generation.sampling import Sampler
from service.engine.generation.tokenizer import Tokenizer
from tests.engine.generation.language import write_tokenizer
from tests.engine.generation.random_text import random_text
from tests.engine.generation.tiny_llama import EOS, VOCABULARY


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, VOCABULARY, (EOS,))


def answer(grammars: Grammars, tokenizer: Tokenizer, form: Form, seed: int, bar: bool) -> str:
    """Return a random text that a form allows."""
    sampler = Sampler(SamplingParameters(seed=seed), (), (EOS,), grammars.grammar(form))
    sampler.bar = bar
    return random_text(tokenizer, sampler, seed, most=200)


@pytest.mark.parametrize("bar", [False, True])
def test_random_tokens_follow_the_form(grammars: Grammars, tokenizer: Tokenizer, bar: bool) -> None:
    for seed in range(10):
        text = answer(grammars, tokenizer, Form("regex", "(cat|dog)[0-9]{2}"), seed, bar)
        assert text[:3] in ("cat", "dog") and len(text) == 5 and text[3:].isdigit()


def test_a_copy_is_independent(grammars: Grammars, tokenizer: Tokenizer) -> None:
    one = grammars.grammar(Form("regex", "ab"))
    other = one.copy()
    (token,) = tokenizer.encode("a", special=False)
    one.note(token)
    assert other.allowed()[token] and not one.allowed()[token]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '{"properties": {"a": {"$ref": "#"}}, "required": ["a"], "type": "object"}',
            "Too many items",
        ),
        ('{"properties": {"a": {"type": "string"}}, "required": ["a"], "type": "object"}', ""),
    ],
)
def test_a_form_without_an_end_is_a_problem(grammars: Grammars, text: str, problem: str) -> None:
    grammar = grammars.grammar(Form("json_schema", text))
    assert not grammar.problem
    for _ in range(8):
        grammar.note(int(grammar.allowed().argmax()))
    assert problem in grammar.problem and "\n" not in grammar.problem
    assert bool(grammar.problem) == bool(problem)


@pytest.mark.parametrize(
    "form",
    [
        Form("regex", "(a"),
        Form("json_schema", '{"type": "nonsense"}'),
        Form("json_schema", '{"type": "string", "minLength": 5, "maxLength": 2}'),
        Form("json_schema", "[1]"),
    ],
)
def test_unusable_forms_are_refused(grammars: Grammars, form: Form) -> None:
    with pytest.raises(InputRejected, match=f"the {form.name} is not usable: "):
        grammars.grammar(form)


def test_the_error_names_the_missing_package(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(NotSupported, match="pip install 'quantserve"):
        grammars.grammar(Form("regex", "a"))
