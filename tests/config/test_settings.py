"""Settings come from flags, variables and files; keys from variables and files only."""

import os
from pathlib import Path
from threading import Timer

import pytest
from pydantic import SecretStr

from service import files
from service.config.settings import Settings, load_settings, read_keys
from service.core.errors import ConfigError

NAME = "QUANTSERVE_ADMIN_KEY"


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b,\n", ("a", "b"))],
)
def test_keys_are_separated_by_commas(text: str, keys: tuple[str, ...]) -> None:
    assert read_keys(NAME, SecretStr(text), None) == keys


def test_a_file_of_keys_may_have_one_key_per_line(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one\ntwo\n")
    assert read_keys(NAME, SecretStr(""), file) == ("one", "two")


def test_an_unusable_file_of_keys_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff")
    monkeypatch.setattr(files, "STREAM_SECONDS", 0.1)
    os.mkfifo(pipe := tmp_path / "pipe")
    for given, file, text in [
        ("", tmp_path / "absent", "No such file"),
        ("", empty, "holds no key"),
        (" ", None, "holds no key"),
        (" , ", None, "blank"),
        ("\n,\t", None, "holds no key"),
        ("", binary, "not text"),
        ("secret-1", empty, "both set"),
        (" ", empty, "both set"),
        ("", Path("/dev/zero"), "more than 65536 bytes"),
        ("", pipe, "did not end within"),
        ("secret-1\0", None, "ASCII"),
        ("secret-1é", None, "ASCII"),
    ]:
        with pytest.raises(ConfigError, match=text) as caught:
            read_keys(NAME, SecretStr(given), file)
        assert "secret-1" not in str(caught.value)


def test_keys_may_be_read_from_a_pipe() -> None:
    end, begin = os.pipe()
    with os.fdopen(end), os.fdopen(begin, "w") as writer:
        writer.write("one,")
        writer.flush()
        Timer(0.05, lambda: (writer.write("two"), writer.close())).start()
        assert read_keys(NAME, SecretStr(""), Path(f"/dev/fd/{end}")) == ("one", "two")


def test_settings_do_not_show_keys() -> None:
    settings = load_settings({}, {"QUANTSERVE_ADMIN_KEY": "hush", "QUANTSERVE_API_KEY": "hush"})
    assert settings.admin_key.get_secret_value() == "hush"
    assert "hush" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_empty_variables_and_client_variables_are_ignored() -> None:
    environment = {"QUANTSERVE_ADMIN_KEY_FILE": "", "QUANTSERVE_URL": "http://x", "PATH": "/bin"}
    assert load_settings({}, environment) == Settings()
    with pytest.raises(ConfigError, match="QUANTSERVE_ADMIN_KEYS"):
        load_settings({}, {"QUANTSERVE_ADMIN_KEYS": "hush"})


@pytest.mark.parametrize(("text", "allowed"), [("true", True), ("1", True), ("false", False)])
def test_a_variable_allows_an_empty_server(text: str, allowed: bool) -> None:
    assert load_settings({}, {"QUANTSERVE_ALLOW_EMPTY": text}).allow_empty is allowed


def test_an_invalid_model_name_is_refused() -> None:
    assert load_settings({}, {"QUANTSERVE_NAME": "resnet"}).name == "resnet"
    with pytest.raises(ConfigError, match="--name: expected 1 to 128 letters"):
        load_settings({"name": "my model"}, {})
