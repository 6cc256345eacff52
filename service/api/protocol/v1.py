"""The V1 protocol, for people and curl: from tables to {"predictions": [...]}. No I/O.

A table has one of the formats of TensorFlow Serving and MLflow: rows as ``instances`` or
``dataframe_records``, columns as ``inputs``, names and rows as ``dataframe_split``; or it is CSV.

Source: https://www.tensorflow.org/tfx/serving/api_rest,
https://mlflow.org/docs/latest/deployment/deploy-model-locally.html.
"""

from typing import Any

import orjson

from service.api.protocol import csv_table, json_table, non_finite, text_tables
from service.api.protocol.csv_table import BodyFormat
from service.api.protocol.json_tensors import Bytes, parse_json
from service.api.protocol.pace import Paced, go_on
from service.core.bfloat16 import from_bfloat16
from service.core.errors import MalformedRequest
from service.core.padding import Padding
from service.core.requests import InferRequest, InferResponse
from service.core.tensors import Array, Signature, Tensor


def decode(
    body: Bytes,
    signature: Signature,
    padding: Padding | None = None,
    form: BodyFormat = "json",
    pace: Paced = go_on,
) -> InferRequest:
    """Decode a request whose body is a table, in any of the formats, for the inputs of a signature.
    Rows of different lengths are padded by ``padding``. Long work calls ``pace`` regularly.

    V1 does not define ``parameters``; ``non_finite`` is the only one that is used.

    Raises:
        MalformedRequest: the message names the error.
    """
    if form != "json":
        if form == "csv":
            signature = text_tables.of_csv(body, signature)
        return InferRequest(csv_table.decode(body, signature, form == "csv"))
    try:
        message = parse_json(body, non_finite.loads)
    except MalformedRequest as error:
        raise _or_csv(body, error) from None
    wanted = non_finite.asked(message.get("parameters"))
    chosen = text_tables.of_table(message, signature)
    padding = padding if chosen is signature else None
    tensors = json_table.read(message, json_table.Taker(chosen, padding, pace))
    return InferRequest(tensors, non_finite=wanted)


def _or_csv(body: Bytes, error: MalformedRequest) -> MalformedRequest:
    """Return the error. If the body looks like CSV, add the Content-Type that CSV needs."""
    if not body[:1].isalnum() or (b"," not in body and b"\n" not in body):
        return error
    return MalformedRequest(f"{error}; CSV needs the Content-Type text/csv")


def encode(response: InferResponse, tokens: bool = True) -> bytes:
    """Return the predictions: one value per instance, or an object of values for several outputs.
    With ``tokens``, NaN and infinity are bare tokens, otherwise null.

    Raises:
        MalformedRequest: the model's outputs do not have a value for each instance.
    """
    arrays = {tensor.name: _array(tensor) for tensor in response.outputs}
    columns: dict[str, Any] = {name: array.tolist() for name, array in arrays.items()}
    document = _predictions(columns, response.model)
    if not tokens or document.find(b"l") < 0:  # numbers have no "l": there is no null
        return document
    strange = {name: array for name, array in arrays.items() if non_finite.is_strange(array)}
    if not strange:
        return document
    for name, array in strange.items():
        columns[name] = (
            [non_finite.literal(row, nested=True) for row in array]
            if len(columns) > 1
            else non_finite.literal(array, nested=True)
        )
    return _predictions(columns, response.model)


def _predictions(columns: dict[str, Any], model: str) -> bytes:
    """Encode the predictions; ``columns`` has the values of each output."""
    if len(columns) == 1:
        predictions = next(iter(columns.values()))
    else:
        lengths = {len(each) if type(each) is list else -1 for each in columns.values()}
        if len(lengths) != 1 or -1 in lengths:
            raise MalformedRequest(
                "the model's outputs do not have one value for each instance: request them with"
                f" POST /v2/models/{model}/infer"
            )
        rows = zip(*columns.values(), strict=True)
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
    return orjson.dumps({"predictions": predictions})


def _array(tensor: Tensor) -> Array:
    return from_bfloat16(tensor.array) if tensor.datatype.name == "BF16" else tensor.array
