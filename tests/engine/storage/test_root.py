"""The root of a repository: models with and without folders, and ignored entries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.core.errors import ConfigError, Conflict
from service.core.selection import Selection
from service.engine.storage.root import Contents, Root
from tests.parts import SETPRIV
from tests.repositories import put, scale

ROOT = Path(__file__).parents[3]


def made(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(scale(1) if file.endswith(".onnx") else b"")
    return root


def read(root: Path, name: str | None = None) -> Contents:
    return Root.of(root, name).read({})


def where(contents: Contents, root: Path) -> dict[str, dict[int, str]]:
    return {
        name: {n: str(files.model.relative_to(root)) for n, files in model.versions.items()}
        for name, model in contents.models.items()
    }


def lines(contents: Contents) -> dict[str, str]:
    of_models = [each for model in contents.models.values() for each in model.passed_over]
    return {each.path: each.reason for each in (*contents.passed_over, *of_models)}


@pytest.mark.parametrize(
    ("folder", "name", "found"),
    [
        ("resnet", None, "resnet"),
        ("my models", None, "model"),
        ("resnet", "other", "other"),
    ],
)
def test_a_model_in_the_root_gets_a_name(
    tmp_path: Path, folder: str, name: str | None, found: str
) -> None:
    root = made(tmp_path / folder, "model.onnx")
    assert where(read(root, name), root) == {found: {1: "model.onnx"}}


def test_a_model_in_the_root_is_served_beside_models_in_folders(tmp_path: Path) -> None:
    root = made(tmp_path, "model.onnx", "style/model.onnx", "m/2/model.onnx", "README.md")
    contents = read(root, "own")
    assert where(contents, root) == {
        "own": {1: "model.onnx"},
        "style": {1: "style/model.onnx"},
        "m": {2: "m/2/model.onnx"},
    }
    assert lines(contents) == {}


def test_a_folder_of_the_same_name_has_priority_if_it_has_a_version(tmp_path: Path) -> None:
    root = made(tmp_path, "model.onnx", "own/notes.txt")
    contents = read(root, "own")
    assert where(contents, root) == {"own": {1: "model.onnx"}}
    assert lines(contents)["own"].startswith("it has no version folder")
    (root / "own/model.toml").touch()
    assert lines(read(root, "own")) == {
        "own": 'it has no version, and the model "own" lies outside of it: move its file here'
    }
    made(root, "own/2/model.onnx")
    contents = read(root, "own")
    assert where(contents, root) == {"own": {2: "own/2/model.onnx"}}
    assert lines(contents)["model.onnx"].startswith('the folder "own" is the model of that name')
    for name in contents.models:
        assert Root.of(root, "own").read_one(name) == contents.models[name]


def test_a_root_with_version_folders_is_served_as_one_model(tmp_path: Path) -> None:
    root = made(tmp_path / "digits", "1/model.onnx", "2/model.onnx", "golden.npz")
    contents = read(root)
    assert where(contents, root) == {"digits": {1: "1/model.onnx", 2: "2/model.onnx"}}
    assert Root.of(root).read_one("1") is None
    assert contents.models["digits"].of_version(2).golden == root / "golden.npz"


def test_a_hugging_face_repository_as_root_is_one_model(tmp_path: Path) -> None:
    files = ("onnx/model.onnx", "onnx/model_int8.onnx", "tokenizer.json")
    root = made(tmp_path / "bert", *files)
    assert where(read(root), root) == {"onnx": {1: "onnx/model.onnx"}}
    made(root, "config.json")
    contents = read(root)
    assert where(contents, root) == {"bert": {1: "onnx/model.onnx"}}
    assert list(lines(contents)) == ["onnx/model_int8.onnx"]
    assert Root.of(root).read_one("bert") == contents.models["bert"]
    assert Root.of(root).read_one("onnx") is None
    (root / "model.toml").write_text('file = "model_int8.onnx"')
    assert where(read(root, "own"), root) == {"own": {1: "onnx/model_int8.onnx"}}


def test_a_name_without_a_model_file_is_reported(tmp_path: Path) -> None:
    root = made(tmp_path, "style/model.onnx")
    assert lines(read(root)) == {}
    assert lines(read(root, "style")) == {}
    assert lines(read(root, "bert"))["bert"].startswith("--name is for a model whose file")
    made(root, "bert/notes.txt")
    assert lines(read(root, "bert"))["bert"].startswith("it has no version folder")


def test_settings_in_the_root_apply_to_its_model(tmp_path: Path) -> None:
    root = made(tmp_path / "m", "a.onnx", "b.onnx")
    assert set(lines(read(root))) == {"a.onnx", "b.onnx"}
    (root / "model.toml").write_text('file = "b.onnx"')
    assert where(read(root), root) == {"m": {1: "b.onnx"}}
    (root / "model.toml").write_text("file = 3")
    assert read(root).models["m"].problem.startswith("model.toml: file")


@pytest.mark.parametrize("odd", [b"caf\xe9", b"caf\xe9/1", b"a\nb", b"\xff.onnx", b"m/\xff"])
def test_names_that_are_not_valid_text_cause_no_error(tmp_path: Path, odd: bytes) -> None:
    put(tmp_path, "m", 1, scale(1))
    (tmp_path / os.fsdecode(odd)).mkdir(parents=True)
    contents = read(tmp_path)
    assert where(contents, tmp_path) == {"m": {1: "m/1/model.onnx"}}
    assert all(path.isprintable() and reason for path, reason in lines(contents).items())


def test_names_that_are_not_valid_text_inside_a_version_cause_no_error(tmp_path: Path) -> None:
    folder = put(tmp_path, "m", 1, scale(1))
    before = read(tmp_path).models["m"].files
    (folder / os.fsdecode(b"\xff")).touch()
    assert read(tmp_path).models["m"].files != before


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("model.toml", "model.toml is not a file"),
        ("serving.toml", ""),  # the pin's problem
        ("2", ""),
        ("notes", ""),
    ],
)
def test_named_pipes_do_not_block(tmp_path: Path, file: str, problem: str) -> None:
    put(tmp_path, "m", 1, scale(1))
    os.mkfifo(tmp_path / "m" / file)
    os.mkfifo(tmp_path / "pipe")
    contents = read(tmp_path)
    assert contents.models["m"].problem == problem
    assert lines(contents)["pipe"] == "is not a file or a folder"


def test_broken_and_outside_links_are_reported(tmp_path: Path) -> None:
    outside = made(tmp_path / "outside", "model.onnx", "secret.onnx")
    root = tmp_path / "models"
    put(root, "m", 1, scale(1))
    (root / "broken").symlink_to("nowhere")
    (root / "away").symlink_to(outside)
    (root / "m/2").symlink_to(outside)
    (root / "m/3").mkdir()
    (root / "m/3/model.onnx").symlink_to(outside / "model.onnx")
    (root / "m/4").symlink_to("1")
    contents = read(root)
    assert lines(contents) == {"broken": "is a link to nothing"}
    assert contents.models["away"].problem == "its folder leads outside the model repository"
    problems = {n: files.problem for n, files in contents.models["m"].versions.items()}
    assert problems == {
        1: "",
        2: "the folder of the version leads outside the model repository",
        3: "model.onnx leads outside the model repository",
        4: "",
    }


@SETPRIV.unless(shutil.which("setpriv"))
def test_unreadable_folders_are_reported(tmp_path: Path) -> None:
    """Run in a separate process without root's privileges, because root may read everything."""
    for name in ("ok", "folder", "version"):
        put(tmp_path, name, 1, scale(1))
    for locked in ("folder", "version/1"):
        (tmp_path / locked).chmod(0)
    code = (
        "import pathlib, sys; from service.engine.storage.root import Root;"
        "models = Root.of(pathlib.Path(sys.argv[1])).read({}).models;"
        "print(*(f'{m.name}: {m.problem or m.of_version(1).problem}' for m in models.values()),"
        "sep='\\n')"
    )
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if not os.getuid() else []
    command = [*drop, sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert sorted(done.stdout.splitlines()) == [
        "folder: its folder cannot be read: Permission denied",
        "ok: ",
        "version: the folder of the version cannot be read: Permission denied",
    ], done.stderr


def test_an_error_in_one_folder_does_not_affect_others(tmp_path: Path) -> None:
    put(tmp_path, "deep", 1, scale(1))
    (tmp_path / "deep/model.toml").write_text("a = " + "[" * 100_000)
    put(tmp_path, "m", 1, scale(1))
    contents = read(tmp_path)
    assert contents.models["deep"].problem and not contents.models["m"].problem


def test_a_root_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="models folder .*: No such file or directory"):
        read(tmp_path / "nowhere")
    assert Root.of(tmp_path / "nowhere").read_one("m") is None


def test_other_folders_have_one_line_each(tmp_path: Path) -> None:
    root = made(
        tmp_path, "src/a/x.py", "src/b/x.py", "models/m/1/model.onnx", "style/v1/model.onnx"
    )
    told = lines(read(root))
    assert set(told) == {"src", "models", "style", "style/v1"}
    assert told["models"].startswith("it holds models (m): give this folder as --models, or move")
    assert told["style/v1"].endswith("rename it to 1")


def test_a_model_in_the_root_cannot_get_a_new_version(tmp_path: Path) -> None:
    root = Root.of(made(tmp_path, "model.onnx", "m/model.onnx"), "own")
    root.check_new_version("m")
    root.check_new_version("new")
    with pytest.raises(Conflict, match="move its file to own/1/model.onnx first"):
        root.check_new_version("own")


def test_only_selected_models_are_read(tmp_path: Path) -> None:
    made(tmp_path, "a/1/model.onnx", "b/1/model.onnx", "b/x/model.onnx", "c/1/readme", "note")
    some = Root.of(tmp_path, selected=Selection(frozenset({"b"})))
    assert set(some.read({}).models) == {"b"}
    assert all(each.path.startswith("b") for each in some.read({}).passed_over)
    assert some.read_one("a") is None and some.read_one("b") is not None
    rest = Root.of(tmp_path, selected=Selection(frozenset({"b"}), inverted=True))
    assert set(rest.read({}).models) == {"a", "c"}
    assert not [each for each in rest.read({}).passed_over if each.path.startswith("b")]
    assert rest.read_one("b") is None
    assert some.read({}).others and rest.read({}).others and not Root.of(tmp_path).read({}).others


def test_a_model_in_the_root_that_is_not_selected_is_ignored(tmp_path: Path) -> None:
    made(tmp_path, "model.onnx", "a/1/model.onnx")
    root = Root.of(tmp_path, "own", Selection(frozenset({"a"})))
    assert set(root.read({}).models) == {"a"} and not root.read({}).passed_over
    assert root.read_one("own") is None
