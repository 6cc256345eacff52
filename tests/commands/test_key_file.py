"""The key that a server makes is for its user on this machine, and for nobody else."""

import stat
from pathlib import Path

import pytest

from service.commands.key_file import drop_key, find_key, is_loopback, key_file, make_key


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
def test_loopback_is_told_from_the_address_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_commands_find_the_key_by_the_port(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    path = key_file(8123, environment)
    key = make_key(path)
    assert len(key) == 64
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert find_key(f"http://{host}:8123", environment) == key
        assert find_key(f"http://{host}:8124", environment) == ""
    drop_key(path)
    assert find_key("http://127.0.0.1:8123", environment) == ""


@pytest.mark.parametrize("url", ["http://192.0.2.1:8123", "http://example.org:8123", "x", ""])
def test_no_other_machine_is_shown_the_key(tmp_path: Path, url: str) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    make_key(key_file(8123, environment))
    assert find_key(url, environment) == ""


def test_only_the_user_can_read_the_key_and_each_start_makes_another(tmp_path: Path) -> None:
    path = tmp_path / "state" / "8123.key"
    first, second = make_key(path), make_key(path)
    assert first != second and path.read_text() == second + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_without_a_place_the_key_is_refused_not_misplaced(tmp_path: Path) -> None:
    (tmp_path / "quantserve").write_text("a file where the folder should be")
    with pytest.raises(OSError):
        make_key(key_file(8123, {"XDG_STATE_HOME": str(tmp_path)}))
