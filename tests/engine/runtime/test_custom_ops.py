"""Operators that ONNX Runtime lacks: a real library, and the errors without a library."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.config.model import ModelConfig
from service.core.errors import LoadFailed
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from service.engine.runtime.custom_ops import library, missing_operator
from tests.engine import graphs
from tests.parts import OPERATORS

DOMAIN = "ai.onnx.contrib"
ALLOW = "--allow-custom-ops"


def shouting(operator: str = "StringUpper", domain: str = DOMAIN) -> onnx.ModelProto:
    """A model from text to text, with an operator of another domain."""
    ends = [graphs.value(name, ["batch"], TensorProto.STRING) for name in ("x", "y")]
    model = graphs.model(
        [helper.make_node(operator, ["x"], ["y"], domain=domain)], ends[:1], ends[1:]
    )
    if domain != "com.microsoft":
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    """The path of a library beside model.toml."""
    package = importlib.util.find_spec("onnxruntime_extensions")
    OPERATORS.need(package)
    assert package is not None and package.origin is not None
    built = next(Path(package.origin).parent.glob("_extensions_pydll*.so"), None)
    OPERATORS.need(built)
    assert built is not None
    home = tmp_path / "models" / "shout"
    home.mkdir(parents=True)
    return Path(shutil.copy(built, home / "lib.so"))


def loaded(
    home: Path, model: onnx.ModelProto, name: str | None = None, allowed: bool = True
) -> Loaded:
    config = ModelConfig.model_validate({"session": {"custom_ops": name}} if name else {})
    return load(graphs.save(model, home), config, 1, allowed)


def test_a_configured_and_allowed_library_is_loaded(lib: Path) -> None:
    found = loaded(lib.parent, shouting(), "lib.so")
    text = np.array(["abc", "d"], object)
    (answer,) = found.instances[0].run.__self__.run((text,))  # type: ignore[attr-defined]
    assert answer.tolist() == ["ABC", "D"]


def test_a_library_is_not_loaded_without_the_flag(lib: Path) -> None:
    with pytest.raises(LoadFailed, match=f"'lib.so' is code, .* start it with {ALLOW}"):
        loaded(lib.parent, shouting(), "lib.so", allowed=False)


def test_a_missing_library_error_names_domain_and_settings(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed) as caught:
        loaded(tmp_path, shouting())
    for part in ('"StringUpper"', f'domain "{DOMAIN}"', '[session] custom_ops = "lib.so"', ALLOW):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("domain", "told"), [(DOMAIN, True), ("com.microsoft.extensions", True), ("acme.ops", False)]
)
def test_the_error_names_the_package_of_a_known_domain(
    domain: str, told: bool, tmp_path: Path
) -> None:
    with pytest.raises(LoadFailed, match="session. custom_ops") as caught:
        loaded(tmp_path, shouting(domain=domain))
    assert ("pip install onnxruntime-extensions" in str(caught.value)) is told


def test_an_operator_that_the_library_lacks_is_named(lib: Path) -> None:
    with pytest.raises(LoadFailed, match=f'"Nope" of the domain "{DOMAIN}" .* and to lib.so'):
        loaded(lib.parent, shouting("Nope"), "lib.so")


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml"])
def test_an_unknown_standard_operator_does_not_ask_for_a_library(
    domain: str, tmp_path: Path
) -> None:
    with pytest.raises(LoadFailed) as caught:
        loaded(tmp_path, shouting("FromTheFuture", domain))
    assert "FromTheFuture" in str(caught.value) and "custom_ops" not in str(caught.value)


def test_other_load_errors_are_not_changed() -> None:
    assert missing_operator("Protobuf parsing failed.", None) == ""


def test_an_invalid_library_fails_the_load(tmp_path: Path) -> None:
    (tmp_path / "lib.so").write_bytes(b"text" * 100)
    with pytest.raises(LoadFailed, match="^custom_ops lib.so cannot be loaded: "):
        loaded(tmp_path, shouting(), "lib.so")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other.so", "there is no such file beside model.toml"),
        ("1", "there is no such file"),
        ("", "expected the name of a file"),
        ("1/lib.so", "expected the name of a file"),
        ("../other/lib.so", "expected the name of a file"),
        ("/usr/lib/libc.so.6", "expected the name of a file"),
        ("away.so", "leads outside the model repository"),
        ("uploaded.so", "leads into a version's folder"),
        ("another.so", "leads into a version's folder"),
    ],
)
def test_a_library_is_loaded_only_from_beside_model_toml(
    name: str, reason: str, tmp_path: Path
) -> None:
    home = tmp_path / "models" / "m"
    for place in (home / "1", home.parent / "other" / "3", tmp_path):
        place.mkdir(parents=True, exist_ok=True)
        (place / "lib.so").touch()
    (home / "away.so").symlink_to(tmp_path / "lib.so")
    (home / "uploaded.so").symlink_to("1/lib.so")
    (home / "another.so").symlink_to("../other/3/lib.so")
    with pytest.raises(LoadFailed, match=reason):
        library(home, home.parent, name, allowed=True)


def test_a_library_may_be_a_link_within_a_mounted_folder(tmp_path: Path) -> None:
    home = tmp_path / "models" / "m"
    (home / "..2024").mkdir(parents=True)
    (home / "..2024" / "lib.so").touch()
    (home / "lib.so").symlink_to("..2024/lib.so")
    assert library(home, home.parent, "lib.so", allowed=True) == home / "lib.so"
