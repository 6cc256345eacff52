"""Versions that accept images, and the notes and errors of versions that cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.config.model import ModelConfig, load_model_config
from service.core.errors import LoadFailed
from service.engine.loading.loader import load
from service.engine.storage.folder import read_model
from tests.engine.graphs import linear, save
from tests.pictures import SIDE, TOML, echo

PROCESSOR = {"do_resize": True, "size": SIDE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def test_model_toml_enables_images(tmp_path: Path) -> None:
    home = echo(tmp_path, TOML)
    loaded = load(home, load_model_config(tmp_path / "echo/model.toml"), 1)
    assert loaded.images is not None and loaded.images.tensor == "x"
    assert load(home, ModelConfig(), 1).images is None


def test_a_hugging_face_preprocessor_file_enables_images(tmp_path: Path) -> None:
    home = echo(tmp_path, "")
    before = read_model(tmp_path / "echo")
    (home / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    loaded, after = load(home, ModelConfig(), 1), read_model(tmp_path / "echo")
    assert loaded.images is not None and loaded.images.offset == (-1.0,) * 3
    assert before and after and before.revision(1) != after.revision(1), "it is loaded again"


def test_a_preprocessor_file_that_does_not_fit_is_a_note(tmp_path: Path) -> None:
    home = save(linear(), tmp_path / "linear")
    (home / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    loaded = load(home, ModelConfig(), 1)
    assert loaded.images is None
    assert loaded.images_note in loaded.notes and "0 inputs fit images" in loaded.images_note


def test_settings_that_do_not_fit_fail_the_load(tmp_path: Path) -> None:
    home = echo(tmp_path, "[image]\nsize = [8, 8]\n")
    with pytest.raises(LoadFailed, match="takes 32x32 pixels"):
        load(home, load_model_config(tmp_path / "echo/model.toml"), 1)


WITHOUT = """
import sys
sys.modules["PIL"] = None
from pathlib import Path
from service.config.model import load_model_config
from service.core.errors import LoadFailed
from service.engine.loading.loader import load
home = Path(sys.argv[1])
try:
    load(home, load_model_config(home.parent / "model.toml"), 1)
except LoadFailed as error:
    print(error)
"""


def test_a_missing_package_is_named_with_the_install_command(tmp_path: Path) -> None:
    home = echo(tmp_path, TOML)
    command = [sys.executable, "-c", WITHOUT, str(home)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "pip install 'quantserve[image]'" in told


UNUSED = """
import sys
import service.app
from pathlib import Path
from service.config.model import ModelConfig
from service.engine.loading.loader import load
load(Path(sys.argv[1]), ModelConfig(), 1)
print(*[name for name in sys.modules if name == "PIL" or name.endswith(".images")])
"""


def test_servers_without_image_models_do_not_import_pillow(tmp_path: Path) -> None:
    home = echo(tmp_path, "")
    command = [sys.executable, "-c", UNUSED, str(home)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.split() == []
