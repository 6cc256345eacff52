"""Errors about missing locales name the locale and say what to install."""

import pytest

from service.engine.runtime.locales import missing_locale

ERROR = (
    "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: string_normalizer.cc:235"
    " Locale(const std::string&)::<lambda()> Failed to construct locale with name:{}:"
    "locale::facet::_S_create_c_locale name not valid:Please, install necessary language-pack-XX"
)


@pytest.mark.parametrize(
    ("name", "command", "pack"),
    [
        ("en_US.UTF-8", "localedef -i en_US -f UTF-8 en_US.UTF-8", "glibc-langpack-en "),
        ("de_DE", "localedef -i de_DE -f ISO-8859-1 de_DE", "glibc-langpack-de "),
        ("ca_ES.UTF-8@valencia", "localedef -i ca_ES@valencia -f UTF-8", "glibc-langpack-ca "),
    ],
)
def test_the_error_says_what_to_install(name: str, command: str, pack: str) -> None:
    text = missing_locale(ERROR.format(name))
    assert text is not None
    assert f"need the locale {name}, which is not installed" in text
    assert command in text and pack in text and text.endswith("then restart the server")


@pytest.mark.parametrize("name", ["$(reboot)", "en_US;reboot", "a b; c", "a\nb", "x" * 5000])
def test_no_command_is_printed_for_an_invalid_locale_name(name: str) -> None:
    text = missing_locale(ERROR.format(name))
    assert text is not None and "localedef" not in text and len(text) < 400


def test_other_errors_are_not_about_locales() -> None:
    assert missing_locale("Failed to load model") is None
