"""The commands ``bench`` and ``list`` with a real server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.bench.rows import MADE_UP, Rows
from service.bench.wire import Answer
from service.cli import main
from service.commands.bench import _tell_wrong
from tests import tiny_models
from tests.repositories import golden, put, scale
from tests.system.process import ROOT, Running, running

QUEUE = tiny_models.ONE_THREAD + "[batching]\nmax_queue_size = 1\n"
QUICK = ("--duration", "0.1", "--json")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Running]]:
    """A models folder, and a server of it."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "models/digits", models / "digits")
    put(models, "m", 1, scale(2))
    golden(models / "m", 2)
    tiny_models.counting(models, "slow", QUEUE)
    tiny_models.identity(models, "BYTES")
    with running(models) as served:
        yield models, served


def called(
    capsys: pytest.CaptureFixture[str], server: Running, command: str, *flags: str
) -> tuple[int, str, str]:
    """Run a command; return its exit code, standard output and standard error."""
    code = main([command, *flags, "--url", f"http://{server.address}"])
    return code, *capsys.readouterr()


Served = tuple[Path, Running]
Capsys = pytest.CaptureFixture[str]


def measured(capsys: Capsys, served: Served, *flags: str) -> dict[str, Any]:
    """Return the results of a bench in which no request failed."""
    models, server = served
    code, out, err = called(capsys, server, "bench", *flags, "--models", str(models), *QUICK)
    assert (code, err) == (0, "")
    return dict(json.loads(out))


def test_the_example_of_the_folder_is_sent_in_both_formats(capsys: Capsys, server: Served) -> None:
    found = measured(capsys, server, "digits", "--concurrency", "1,2")
    assert found["source"] == str(server[0] / "digits/example.json")
    assert [(run["format"], run["concurrency"]) for run in found["runs"]] == [
        ("json", 1), ("json", 2), ("binary", 1), ("binary", 2)
    ]  # fmt: skip
    for run in found["runs"]:
        assert run["requests"] > 0
        assert run["errors"] == {}
        assert 0 < run["p50_ms"] <= run["p95_ms"] <= run["p99_ms"] <= run["max_ms"]
        assert run["requests_per_second"] > 0
        assert isinstance(run["client_limited"], bool)


def test_golden_rows_are_sent_without_an_example(capsys: Capsys, server: Served) -> None:
    found = measured(capsys, server, "m", "--rate", "100", "--rows", "2")
    assert found["source"] == str(server[0] / "m/golden.npz")
    assert [(run["rate"], run["requests"]) for run in found["runs"]] == [(100, 10), (100, 10)]


def test_without_local_files_the_servers_example_is_sent(
    capsys: Capsys, server: Served, tmp_path: Path
) -> None:
    _, running = server
    for name in ("digits", "m", "same_bytes", "slow"):
        code, out, err = called(
            capsys, running, "bench", name, "--models", str(tmp_path), "--concurrency", "1", *QUICK
        )
        assert (code, err) == (0, "")
        assert json.loads(out)["source"] == "the server's example"


def test_a_v1_body_is_posted_to_v1(capsys: Capsys, server: Served, tmp_path: Path) -> None:
    (tmp_path / "v1.json").write_text('{"instances": [[1, 2]]}')
    data = ("--data", str(tmp_path / "v1.json"), "--concurrency", "1", "--version", "1")
    found = measured(capsys, server, "m", *data)
    assert found["path"] == "/v1/models/m/versions/1:predict"
    assert [run["format"] for run in found["runs"]] == ["v1"]


def test_errors_are_counted_by_status_and_exit_with_1(
    capsys: Capsys, server: Served, tmp_path: Path
) -> None:
    """One request runs for a long time, one waits, the others find the queue full."""
    tensor = {"name": "n", "datatype": "INT64", "shape": [1], "data": [30_000]}
    (tmp_path / "slow.json").write_text(json.dumps({"inputs": [tensor]}))
    flags = ("slow", "--data", str(tmp_path / "slow.json"), "--format", "json")
    code, out, _ = called(capsys, server[1], "bench", *flags, "--concurrency", "8", *QUICK)
    (run,) = json.loads(out)["runs"]
    assert code == 1
    assert run["errors"]["503"] > 0
    assert run["requests"] > 0
    assert "would exceed the limit of 1" in run["reasons"]["503"]
    assert "{" not in run["reasons"]["503"]
    code, out, _ = called(
        capsys, server[1], "bench", *flags, "--concurrency", "8", "--duration", "0.1"
    )
    assert code == 1
    assert "x status 503: " in out
    assert out.splitlines()[3].split()[:2] == ["FORMAT", "LOAD"]


def test_a_bad_request_is_reported_before_measuring(
    capsys: Capsys, server: Served, tmp_path: Path
) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    (tmp_path / "wrong.json").write_text(json.dumps({"inputs": [tensor]}))
    code, out, err = called(capsys, server[1], "bench", "m", "--data", str(tmp_path / "wrong.json"))
    assert (code, out) == (1, "")
    assert "refused (400): json request from" in err
    assert 'input "x" takes FP32 [-1, 2], got FP32 [1, 3]' in err
    assert "--data" not in err
    code, _, err = called(capsys, server[1], "bench", "nobody")
    assert code == 1
    assert 'refused (404): there is no model "nobody"' in err


def test_without_a_server_the_command_exits_with_2(capsys: Capsys) -> None:
    for command in (["bench", "m"], ["list"]):
        assert main([*command, "--url", "http://127.0.0.1:1"]) == 2
        assert "no answer from http://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--concurrency", "0"), ("--concurrency", "1,x"), ("--rate", "-1"), ("--rate", "nan"),
     ("--duration", "0"), ("--format", "xml"), ("--rows", "0")],
)  # fmt: skip
def test_invalid_flags_are_named(flag: str, value: str, capsys: Capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "m", f"{flag}={value}"])
    assert ended.value.code == 2
    assert f"argument {flag}: " in capsys.readouterr().err


def test_the_client_does_not_import_onnxruntime() -> None:
    code = (
        "import sys, service.commands.bench, service.commands.list\n"
        "assert not {'onnxruntime', 'fastapi', 'onnx'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_keys_are_sent_to_a_server_that_requires_them(
    capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "m", 1, scale(2))
    monkeypatch.setenv("QUANTSERVE_ADMIN_KEY", "admin")
    monkeypatch.setenv("QUANTSERVE_API_KEY", "reader")
    flags = ("m", "--concurrency", "1", *QUICK)
    with running(tmp_path) as served:
        monkeypatch.setenv("QUANTSERVE_ADMIN_KEY", "")
        assert called(capsys, served, "bench", *flags)[0] == 0
        assert called(capsys, served, "list")[0] == 0
        monkeypatch.setenv("QUANTSERVE_API_KEY", "another")
        for command in (("bench", *flags), ("list",)):
            code, _, err = called(capsys, served, *command)
            assert code == 1
            assert "refused (401)" in err


def test_list_shows_every_version_of_a_server(capsys: Capsys, server: Served) -> None:
    code, out, _ = called(capsys, server[1], "list", "--json")
    assert code == 0
    rows = {(row["name"], row["version"]): row for row in json.loads(out)}
    serving, other = rows["digits", 2], rows["digits", 1]
    assert (serving["state"], serving["serving"]) == ("READY", True)
    assert (serving["precision"], serving["batching"]) == ("INT8 QDQ", "combine")
    assert (other["state"], other["serving"]) == ("UNAVAILABLE", False)
    assert other["reason"]
    _, out, _ = called(capsys, server[1], "list")
    assert out.splitlines()[0].split() == [
        "MODEL", "VERSION", "STATE", "SERVING", "PRECISION", "BATCHING", "REASON"
    ]  # fmt: skip


def test_list_reads_a_folder_without_a_server(capsys: Capsys, tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(1))
    put(tmp_path, "m", 2, scale(2))
    put(tmp_path, "m", 3, b"no model")
    (tmp_path / "m/serving.toml").write_text("version = 1\n")
    (tmp_path / "m/model.toml").write_text('[batching]\ncombine = "never"\n')
    (tmp_path / "notes.pt").write_text("")
    assert main(["list", "--models", str(tmp_path), "--json"]) == 0
    rows = {(row["name"], row["version"]): row for row in json.loads(capsys.readouterr().out)}
    assert [rows["m", n]["serving"] for n in (1, 2, 3)] == [True, False, False]
    assert (rows["m", 1]["precision"], rows["m", 1]["batching"]) == ("FP32", "never")
    assert "model.onnx" in rows["m", 3]["reason"]
    assert "only ONNX" in rows["notes.pt", None]["reason"]
    assert main(["list", "--models", str(tmp_path / "none")]) == 2


def test_generated_rows_that_fail_ask_for_data(capsys: Capsys) -> None:
    answer = Answer("400", b"the model refuses these values")
    assert _tell_wrong(answer, "json", Rows(MADE_UP, ())) == 1
    assert "; give valid rows with --data" in capsys.readouterr().err
