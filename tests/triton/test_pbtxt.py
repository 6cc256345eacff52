"""A config.pbtxt becomes settings; fields without an equivalent setting are named."""

from pathlib import Path

import pytest

from service.triton.configuration import CACHE_BYTES
from service.triton.pbtxt import TritonSettings, read_pbtxt

WHOLE = """
# As for Triton 24.10
name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 8
default_model_filename: "net.onnx"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] reshape { shape: [ 3 ] } } ]
output [
  { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }
]
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0 ] }, { count: 1 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 500
  preserve_ordering: true
  default_queue_policy { max_queue_size: 16 default_timeout_microseconds: 2000000 }
}
version_policy: { specific { versions: [ 1, 3 ] } }
response_cache { enable: true }
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
parameters { key: "execution_mode" value: { string_value: "1" } }
optimization { graph { level: 1 } }
model_warmup [ { name: "w" batch_size: 1 } ]
"""


def read(tmp_path: Path, text: str) -> TritonSettings:
    folder = tmp_path / "m"
    folder.mkdir(exist_ok=True)
    (folder / "config.pbtxt").write_text(text)
    return read_pbtxt(folder, "m")


def test_known_fields_become_settings_and_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/labels.txt").write_text("cat\ndog\n")
    found = read(tmp_path, WHOLE)
    assert found.problem == ""
    assert found.sections == {
        "batching": {
            "max_batch_size": 8,
            "preferred_batch_size": 8,
            "max_queue_delay": 0.0005,
            "max_queue_size": 16,
            "timeout": 2.0,
        },
        "cache": {"max_bytes": CACHE_BYTES},
        "file": "net.onnx",
        "instances": {"count": 2, "threads": "2"},
        "outputs": {"y": {"labels": ["cat", "dog"]}},
        "versions": {"policy": "specific", "numbers": (1, 3)},
    }
    for name in (
        "instance_group but the first of 2", "instance_group.0.kind KIND_GPU",
        "instance_group.0.gpus", "dynamic_batching.preserve_ordering", "optimization",
        "parameters.execution_mode", "model_warmup", "input.0.reshape",
    ):  # fmt: skip
        assert name in found.note, name


def test_without_a_file_there_are_no_settings(tmp_path: Path) -> None:
    assert read_pbtxt(tmp_path, "m") == TritonSettings()


@pytest.mark.parametrize("text", ["", "# Triton completes it", 'name: "m"'])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == TritonSettings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name: "other"', 'config.pbtxt: the name is "other", the folder\'s "m"'),
        ("max_batch_size: -1", "config.pbtxt: max_batch_size: "),
        ('max_batch_size: "many"', "max_batch_size: "),
        ("max_batch_size {", "config.pbtxt: line 1:"),
        ("instance_group [ { count: 0 } ]", "instance_group.0.count"),
        ('output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "none.txt" }',
         'output "y": label_filename "none.txt": there is no such file'),
        ('output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "../../etc/passwd" }',
         "is outside the model's folder"),
        ("input: 3", "input"),
        ("parameters: 3", "parameters"),
        ("instance_group: 3", "instance_group"),
    ],
)  # fmt: skip
def test_errors_are_explained(tmp_path: Path, text: str, told: str) -> None:
    found = read(tmp_path, text)
    assert told in found.problem and found.sections == {}


def test_unreadable_or_huge_files_are_problems(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "config.pbtxt").mkdir(parents=True)
    assert "cannot be read" in read_pbtxt(folder, "m").problem
    (folder / "config.pbtxt").rmdir()
    (folder / "config.pbtxt").write_bytes(b"#" * (2**20 + 1))
    assert "more than 1048576 bytes" in read_pbtxt(folder, "m").problem
    (folder / "config.pbtxt").write_bytes(b"\xff\xfe")
    assert "cannot be read" in read_pbtxt(folder, "m").problem
