"""Models with text operators on a machine without their locale, and on a machine with it."""

import shutil
from pathlib import Path

import pytest

from tests import tiny_models
from tests.parts import LOCALE
from tests.system.process import running
from tests.system.wire import get, post

PRESENT = Path("/usr/lib/locale/C.utf8")
WORDS = '{"instances": ["HELLO", "\u00c4RGER"]}'.encode()


@pytest.fixture
def locales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the C library of a server looks for locales; empty at first."""
    folder = tmp_path / "locales"
    folder.mkdir()
    monkeypatch.setenv("LOCPATH", str(folder))
    return folder


def test_a_missing_locale_is_named_with_the_package_to_install(
    tmp_path: Path, locales: Path
) -> None:
    tiny_models.normalizer(tmp_path / "models/words")
    tiny_models.identity(tmp_path / "models", "FP32")
    with running(tmp_path / "models") as served:
        assert "localedef -i en_US -f UTF-8 en_US.UTF-8" in " ".join(served.told.split())
        refused = served.ask(post("/v1/models/words:predict", WORDS))
        assert refused.status == 503
        assert "need the locale en_US.UTF-8, which is not installed" in refused.error
        assert "localedef" in served.ask(post("/v2/repository/index", b"")).body.decode()
        assert served.ask(get("/v2/models/same_fp32/ready")).status == 200


@LOCALE.unless(PRESENT.is_dir())
def test_with_the_locale_installed_the_model_answers(tmp_path: Path, locales: Path) -> None:
    shutil.copytree(PRESENT, locales / "en_US.UTF-8")
    tiny_models.normalizer(tmp_path / "models/words")
    with running(tmp_path / "models") as served:
        answer = served.ask(post("/v1/models/words:predict", WORDS))
        assert answer.json == {"predictions": ["hello", "\u00e4rger"]}
