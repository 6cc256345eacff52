import json
from pathlib import Path

import pytest

from service.core.errors import InputRejected, LoadFailed
from service.engine.generation.chat_template import ChatTemplate, read_chat_template
from tests.engine.generation.language import TEMPLATE, write_tokenizer

USER = {"role": "user", "content": "Hi"}


def render(source: str, *messages: dict[str, str]) -> str:
    return ChatTemplate(source, {"bos_token": "<s>"}).render(messages or (USER,))


def test_messages_are_rendered_to_text() -> None:
    assert render(TEMPLATE) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_features_used_by_templates_of_the_hub() -> None:
    assert (
        render("{{ bos_token }}{{ messages | tojson }}") == '<s>[{"role": "user", "content": "Hi"}]'
    )
    assert render("{{ '<é>' | tojson }}") == '"<é>"'
    assert (
        render("{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}")
        == "01"
    )
    assert len(render("{{ strftime_now('%Y') }}")) == 4
    assert render("{% if tools %}no{% endif %}{{ tools is none }}") == "True"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[7].content }}", "list object has no element 7"),
        ("{{ messages[0].content + 1 }}", "can only concatenate str"),
        ("{{ 1 // 0 }}", "integer division"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'.* is unsafe"),
        ("{{ messages.append(1) }}", "is not safely callable|unsafe"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "takes too long, or creates",
        ),
        ("{% for a in range(99999999) %}{% endfor %}", "takes too long, or creates"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_template_errors_are_returned_to_the_client(source: str, why: str) -> None:
    with pytest.raises(InputRejected, match=f"chat template refuses these messages: .*({why})"):
        render(source)


def test_endless_templates_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.generation.chat_template.MOST_TEXT", 1000)
    with pytest.raises(InputRejected, match="takes too long, or creates"):
        render("{% for a in range(9999) %}{{ a }}{% endfor %}")


def test_an_invalid_template_fails_the_load() -> None:
    with pytest.raises(LoadFailed, match="the chat template is not valid: "):
        ChatTemplate("{% for %}", {})


def test_the_files_that_a_template_is_read_from(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    write_tokenizer(tmp_path)
    config = {"chat_template": "{{ eos_token }}!", "eos_token": {"content": "</s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = read_chat_template(tmp_path)
    assert found is not None and found.render([USER]).startswith("<|im_start|>user")
    (tmp_path / "chat_template.jinja").unlink()
    found = read_chat_template(tmp_path)
    assert found is not None and found.render([USER]) == "</s>!"
    several = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    found = read_chat_template(tmp_path)
    assert found is not None and found.render([USER]) == "D"
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(LoadFailed, match="tokenizer_config.json is not a JSON object"):
        read_chat_template(tmp_path)
