"""A golden set is read as it was written, or refused with the tensor's name."""

from pathlib import Path

import numpy as np
import pytest

from service.core.errors import LoadFailed
from service.core.tensors import Signature
from service.engine.storage.golden import read_golden
from tests.engine.goldens import IDS, MASK, TOKENS, golden, ints, spec


def test_golden_inputs_are_in_the_order_of_the_signature(tmp_path: Path) -> None:
    path = golden(tmp_path, inputs_mask=ints(3, 4) + 1, inputs_ids=ints(3, 4), labels=ints(3))
    found = read_golden(path, TOKENS)
    assert found is not None and [a[0, 0] for a in found.inputs] == [0, 1]
    assert found.labels[""].tolist() == [0, 1, 2] and found.outputs == {}
    assert read_golden(tmp_path / "absent.npz", TOKENS) is None


def test_outputs_and_labels_are_found_by_output_name(tmp_path: Path) -> None:
    whole = {**IDS, **MASK, "outputs_score": np.ones((3, 2), np.float32), "labels_label": ints(3)}
    found = read_golden(golden(tmp_path, **whole), TOKENS)
    assert found is not None
    assert (list(found.outputs), list(found.labels)) == (["score"], ["label"])


WRONG = {
    "missing": (IDS, 'no array "inputs/mask"'),
    "unknown": ({**IDS, **MASK, "inputs_x": ints(3)}, '"inputs/x", which the model does not have'),
    "unknown output": ({**IDS, **MASK, "outputs_z": ints(3)}, '"outputs/z", which the model'),
    "datatype": ({**IDS, "inputs_mask": np.ones((3, 4))}, 'input "mask" takes INT64 .*got float64'),
    "output's datatype": (
        {**IDS, **MASK, "outputs_score": ints(3, 2)},
        'output "score" takes FP32',
    ),
    "rank": (
        {**IDS, "inputs_mask": ints(3)},
        r'input "mask" takes INT64 \[-1, -1\], got INT64 \[3\]',
    ),
    "rows": ({**IDS, "inputs_mask": ints(2, 4)}, 'input "ids" has 3 rows, input "mask" has 2'),
    "no rows": ({"inputs_ids": ints(0, 4), "inputs_mask": ints(0, 4)}, '"ids" has 0 rows'),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_error_for_an_invalid_golden_set_names_the_tensor(case: str, tmp_path: Path) -> None:
    arrays, problem = WRONG[case]
    with pytest.raises(LoadFailed, match=f"golden.npz.*{problem}"):
        read_golden(golden(tmp_path, **arrays), TOKENS)


def test_invalid_golden_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    for content in (b"", b"not a zip", b"PK\3\4 cut off"):
        path.write_bytes(content)
        with pytest.raises(LoadFailed, match="golden.npz cannot be read"):
            read_golden(path, TOKENS)
    with path.open("wb") as file:
        np.save(file, ints(3))
    with pytest.raises(LoadFailed, match="golden.npz cannot be read"):
        read_golden(path, TOKENS)
    np.savez(path, **{"inputs/ids": np.array([[object()]])})
    with pytest.raises(LoadFailed, match="golden.npz cannot be read"):
        read_golden(path, TOKENS)


def test_texts_are_read_as_str(tmp_path: Path) -> None:
    texts = Signature((spec("t", "BYTES", "batch"),), ())
    for array in (np.array(["é", "b"]), np.array(["é".encode(), b"b"])):
        found = read_golden(golden(tmp_path, inputs_t=array), texts)
        assert found is not None and found.inputs[0].tolist() == ["é", "b"]
    with pytest.raises(LoadFailed, match='input "t" takes BYTES'):
        read_golden(golden(tmp_path, inputs_t=ints(2)), texts)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_named_in_the_error(tmp_path: Path, share: float) -> None:
    file = golden(tmp_path, **IDS, **MASK)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(LoadFailed, match="golden.npz cannot be read"):
        read_golden(file, TOKENS)
