"""The key that a server creates is readable only for its user on this machine."""

import os
import stat
from pathlib import Path

import pytest

from service.commands.key_file import (
    drop_key,
    find_key,
    is_loopback,
    key_file,
    make_key,
    read_key,
)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True),
        ("LocalHost", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False),
        ("", False), ("192.168.0.7", False), ("::ffff:10.0.0.1", False), ("fe80::1", False),
        ("example.org", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False),
        ("127.1", False), ("0", False), ("0x7f.1", False), ("myhost", False),
    ],
)  # fmt: skip
def test_loopback_is_decided_by_the_address_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_commands_find_the_key_by_the_port(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    path = key_file("127.0.0.1", 8123, environment)
    key = make_key(path)
    assert len(key) == 64
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert find_key(f"http://{host}:8123", environment) == key
        assert find_key(f"http://{host}:8124", environment) == ""
    drop_key(path)
    assert find_key("http://127.0.0.1:8123", environment) == ""


@pytest.mark.parametrize("url", ["http://192.0.2.1:8123", "http://example.org:8123", "x", ""])
def test_the_key_is_not_sent_to_other_machines(tmp_path: Path, url: str) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    make_key(key_file("127.0.0.1", 8123, environment))
    assert find_key(url, environment) == ""


def test_only_the_user_can_read_the_key_and_each_start_creates_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state" / "8123.key"
    first, second = make_key(path), make_key(path)
    assert first != second and path.read_text() == second + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_without_a_folder_for_the_key_the_start_fails(tmp_path: Path) -> None:
    (tmp_path / "quantserve").write_text("a file where the folder should be")
    with pytest.raises(OSError):
        make_key(key_file("127.0.0.1", 8123, {"XDG_STATE_HOME": str(tmp_path)}))


def test_servers_of_one_port_at_two_addresses_have_two_keys(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    hosts = ("127.0.0.1", "127.0.0.2", "::1")
    keys = {host: make_key(key_file(host, 8123, environment)) for host in hosts}
    for host, key in keys.items():
        shown = f"[{host}]" if ":" in host else host
        assert find_key(f"http://{shown}:8123", environment) == key
    drop_key(key_file("127.0.0.1", 8123, environment))
    assert find_key("http://localhost:8123", environment) == keys["::1"]


def test_the_key_of_a_server_that_listens_everywhere_is_found(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    key = make_key(key_file("0.0.0.0", 8123, environment))
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "[::1]"):
        assert find_key(f"http://{host}:8123", environment) == key


def test_a_server_removes_only_its_own_key(tmp_path: Path) -> None:
    path = tmp_path / "8123.key"
    first = make_key(path)
    second = make_key(path)
    drop_key(path, first)
    drop_key(path, "")
    assert read_key(path) == second
    drop_key(path, second)
    assert not path.exists()


def test_a_key_that_cannot_be_stored_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "8123.key"
    path.mkdir()
    with pytest.raises(OSError):
        make_key(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_others_may_change_becomes_private(tmp_path: Path) -> None:
    folder = tmp_path / "quantserve"
    folder.mkdir()
    folder.chmod(0o777)
    make_key(folder / "8123.key")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_key_of_another_user_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, user = tmp_path / "quantserve" / "8123.key", os.geteuid()
    make_key(path)
    monkeypatch.setattr("os.geteuid", lambda: user + 1)
    assert read_key(path) == ""
    with pytest.raises(PermissionError, match=f"belongs to uid {user}, .* runs as {user + 1}"):
        make_key(path)


@pytest.mark.parametrize("text", [" ,", "", "attacker", "0" * 63, "0" * 65, "\x00" * 64])
def test_files_that_no_server_wrote_are_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "8123.key"
    path.write_text(text)
    path.chmod(0o600)
    assert read_key(path) == ""


def test_links_and_files_that_others_may_write_are_ignored(tmp_path: Path) -> None:
    path, link = tmp_path / "8123.key", tmp_path / "8124.key"
    make_key(path)
    link.symlink_to(path)
    assert read_key(link) == ""
    path.chmod(0o666)
    assert read_key(path) == ""
