"""Execution providers: the installed ones, and the options of each."""

import json
from pathlib import Path

import pytest

from service.core.errors import LoadFailed
from service.engine.cpu import providers
from service.engine.cpu.providers import Provider, check_installed, installed
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs


def test_every_build_has_the_cpu_provider() -> None:
    assert installed()[0] is Provider.CPU
    check_installed(Provider.CPU)
    assert Provider.CPU.options(4) == {}


@pytest.mark.parametrize(("cores", "threads", "streams"), [(8, 2, 4), (2, 2, 1), (2, 4, 1)])
def test_openvino_has_a_stream_for_each_concurrent_run(
    cores: int, threads: int, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "usable_cores", lambda: cores)
    options = Provider.OPENVINO.options(threads)
    settings = json.loads(options["load_config"])["CPU"]
    assert settings["NUM_STREAMS"] == str(streams)
    assert settings["INFERENCE_NUM_THREADS"] == str(streams * threads)
    assert settings["INFERENCE_PRECISION_HINT"] == "f32"


def test_xnnpack_has_its_own_thread_pool() -> None:
    assert Provider.XNNPACK.options(3) == {"intra_op_num_threads": "3"}


@pytest.mark.skipif(Provider.XNNPACK.installed, reason="this build of ONNX Runtime has XNNPACK")
def test_a_missing_provider_is_named_in_the_error(tmp_path: Path) -> None:
    path = graphs.save(graphs.linear(), tmp_path) / "model.onnx"
    with pytest.raises(LoadFailed) as caught:
        Session(path, SessionOptions(provider=Provider.XNNPACK))
    assert '[session] provider = "xnnpack": the installed ONNX Runtime ' in str(caught.value)
    assert 'has "cpu"' in str(caught.value)


@pytest.mark.skipif(Provider.OPENVINO.installed, reason="this build of ONNX Runtime has OpenVINO")
def test_the_error_names_the_package_with_openvino() -> None:
    with pytest.raises(LoadFailed, match="pip install onnxruntime-openvino"):
        check_installed(Provider.OPENVINO)
