import pytest

from service.api.protocol import v1
from service.api.protocol.text_tables import of_csv, of_table
from service.core.datatypes import DATATYPES
from service.core.errors import MalformedRequest
from service.core.tensors import Signature, TensorSpec

TEXT, PAIR = (TensorSpec(name, DATATYPES["BYTES"], ("texts",)) for name in ("text", "text_pair"))
IDS = TensorSpec("input_ids", DATATYPES["INT64"], ("batch", "sequence"))
SIGNATURE = Signature((IDS,), (), texts=Signature((TEXT,), (), (PAIR,), of_texts=True))


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"instances": ["a", "b"]}', ["text"]),
        (b'{"inputs": ["a", "b"]}', ["text"]),
        (b'{"instances": [{"text": "a"}, {"text": "b"}]}', ["text"]),
        (b'{"inputs": {"text": ["a", "b"]}}', ["text"]),
        (b'{"dataframe_split": {"columns": ["text"], "data": [["a"], ["b"]]}}', ["text"]),
        (b'{"dataframe_records": [{"text_pair": "c", "text": "a"}]}', ["text", "text_pair"]),
        (b'{"instances": [[1, 2], [3, 4]]}', ["input_ids"]),
        (b'{"instances": [{"input_ids": [1, 2]}]}', ["input_ids"]),
        (b'{"inputs": {"input_ids": [[1, 2]]}}', ["input_ids"]),
    ],
)
def test_a_table_contains_texts_or_tensors(body: bytes, names: list[str]) -> None:
    assert [tensor.name for tensor in v1.decode(body, SIGNATURE).inputs] == names


def test_csv_contains_texts_if_a_column_has_the_texts_name() -> None:
    request = v1.decode(b'text\n"a, b"\nc\n', SIGNATURE, form="csv")
    assert request.inputs[0].array.tolist() == ["a, b", "c"]
    _, pair = v1.decode(b"text_pair,text\nc,a\n", SIGNATURE, form="csv").inputs
    assert pair.array.tolist() == ["c"]
    assert of_csv(b"", SIGNATURE) is SIGNATURE


def test_signatures_without_texts_are_unchanged() -> None:
    bare = Signature((TEXT,), ())
    assert of_table({"instances": ["a"]}, bare) is bare and of_csv(b"text\n", bare) is bare


@pytest.mark.parametrize(
    "body", [b'{"instances": []}', b'{"instances": 3}', b"{}", b'{"instances": ["a", 3]}']
)
def test_bodies_that_are_not_a_table_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        v1.decode(body, SIGNATURE)
