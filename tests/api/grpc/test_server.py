"""The port: ports in use, TLS, compression, and a shutdown that answers admitted requests."""

import asyncio
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode, aio
from tritonclient.grpc.service_pb2 import ModelInferResponse

from service.api.grpc.server import Tls, credentials
from service.core.errors import ConfigError
from tests import tiny_models
from tests.api.grpc.calling import SERVICE, calling, infer_request
from tests.inprocess import serve

X = np.ones((1, 2), np.float32)
ASKED = infer_request("same_fp32", [("x", "FP32", X)]).SerializeToString()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*new, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with serve(tmp_path, grpc_port=port) as served:
            with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
                await served.server.open_grpc()


async def test_connections_to_several_listeners_are_all_answered(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    own = (("grpc.use_local_subchannel_pool", 1),)
    async with calling(tmp_path) as calls, AsyncExitStack() as open_channels:
        address = f"127.0.0.1:{calls.served.server.grpc_port}"
        asking = []
        for _ in range(32):
            channel = await open_channels.enter_async_context(aio.insecure_channel(address, own))
            asking.append(channel.unary_unary(f"{SERVICE}/ModelInfer")(ASKED, timeout=20))
        answers = [ModelInferResponse.FromString(await each) for each in asking]
    assert all(each.raw_output_contents[0] == X.tobytes() for each in answers)


async def ask(port: int, trusted: Any) -> ModelInferResponse:
    async with aio.secure_channel(f"localhost:{port}", trusted) as channel:
        call = channel.unary_unary(f"{SERVICE}/ModelInfer", None, ModelInferResponse.FromString)
        return await call(ASKED, timeout=10)


async def test_tls_uses_the_configured_files(tmp_path: Path) -> None:
    (models := tmp_path / "models").mkdir()
    tiny_models.identity(models, "FP32")
    cert, key = certificate(tmp_path, "server")
    async with calling(models, host="localhost", grpc_tls_cert=cert, grpc_tls_key=key) as calls:
        port = calls.served.server.grpc_port
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        assert (await ask(port, trusted)).raw_output_contents[0] == X.tobytes()
        async with aio.insecure_channel(f"localhost:{port}") as plain:
            with pytest.raises(aio.AioRpcError) as failed:
                await plain.unary_unary(f"{SERVICE}/ModelInfer")(ASKED, timeout=10)
            assert failed.value.code() is StatusCode.UNAVAILABLE


async def test_client_certificates_are_required_if_configured(tmp_path: Path) -> None:
    (models := tmp_path / "models").mkdir()
    tiny_models.identity(models, "FP32")
    cert, key = certificate(tmp_path, "server")
    known, its_key = certificate(tmp_path, "client")
    files = {"grpc_tls_cert": cert, "grpc_tls_key": key, "grpc_tls_client_ca": known}
    async with calling(models, host="localhost", **files) as calls:
        port, root = calls.served.server.grpc_port, cert.read_bytes()
        shown = grpc.ssl_channel_credentials(root, its_key.read_bytes(), known.read_bytes())
        assert (await ask(port, shown)).outputs
        with pytest.raises(aio.AioRpcError) as failed:
            await ask(port, grpc.ssl_channel_credentials(root))
        assert failed.value.code() is StatusCode.UNAVAILABLE


def test_unreadable_tls_files_are_named_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    with pytest.raises(ConfigError, match="--grpc-tls-key .*a.pem: No such file"):
        credentials(Tls(file, file))
    file.write_text("not a certificate")
    with pytest.raises(ConfigError, match="not in PEM format"):
        credentials(Tls(file, file))


@pytest.mark.parametrize("sent", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("answered", ["none", "gzip", "deflate"])
async def test_messages_may_be_compressed(
    tmp_path: Path, sent: grpc.Compression, answered: str
) -> None:
    tiny_models.identity(tmp_path, "FP32")
    rows = np.ones((500, 20), np.float32)
    asked = infer_request("same_fp32", [("x", "FP32", rows)]).SerializeToString()
    async with calling(tmp_path, grpc_compression=answered) as calls:
        answer = await calls.send("ModelInfer", asked, compression=sent)
        assert ModelInferResponse.FromString(answer).raw_output_contents[0] == rows.tobytes()


async def test_admitted_requests_are_answered_before_the_shutdown(tmp_path: Path) -> None:
    tiny_models.counting(tmp_path)
    asked = infer_request("counting", [("n", "INT64", np.array([200_000], np.int64))])
    async with calling(tmp_path) as calls:
        asking = asyncio.ensure_future(calls.send("ModelInfer", asked.SerializeToString()))
        model = calls.served.server.repository.models["counting"]
        assert model.serving is not None and model.serving.batcher is not None
        while not model.serving.batcher.in_flight:
            assert not asking.done()
            await asyncio.sleep(0.001)
        calls.served.server.close_grpc(20)
        assert ModelInferResponse.FromString(await asking).outputs


def test_a_server_without_a_grpc_port_does_not_import_grpc() -> None:
    code = (
        "import sys, service.commands.serve, service.app;"
        " print([m for m in ('grpc', 'google.protobuf', 'service.api.grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_grpc_package_is_named_with_the_install_command(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    code = (
        "import sys; sys.modules['grpc'] = None; from service.cli import main;"
        " main(['serve', '--no-supervisor', '--port', '0', '--grpc-port', '0', '--allow-empty',"
        f" '--models', {str(tmp_path / 'models')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'quantserve[grpc]'" in done.stderr and "Traceback" not in done.stderr
