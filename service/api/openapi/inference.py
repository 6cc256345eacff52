"""The inference routes in the OpenAPI document. The data plane answers these addresses before the
framework sees them, and reads their bodies with its own codec: nothing here is ever called, and the
models are for the document alone."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, RootModel

from service.api.control.error_handlers import ANY_ERROR, documented
from service.api.control.lookup import NOT_FOUND, ModelName, VersionNumber

Parameters = dict[str, Any]
"""Texts, numbers and booleans, and what clients add of their own, which is passed over."""
ERRORS = (
    documented(400, "The request is wrong; names what, and what was expected")
    | NOT_FOUND
    | documented(413, "The body is larger than the server takes, or the answer than it gives")
    | documented(500, "The model failed")
    | documented(503, "Not ready, or too many requests wait: try again")
    | documented(504, "It waited longer than its timeout, or ran longer than the model may")
    | ANY_ERROR
)


class RequestInput(BaseModel):
    """A tensor. The datatype of numbers in ``data`` is converted to the model's where nothing but
    rounding is lost. ``data`` may be flat or nested; it is left out where ``parameters`` has
    ``binary_data_size`` and the values follow the JSON part of the body. For FP16, BF16, FP32 and
    FP64 it may hold the bare tokens NaN, Infinity and -Infinity, and null for NaN.
    """

    name: str
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[1, 4]])
    data: list[Any] | None = None
    parameters: Parameters | None = None


class RequestedOutput(BaseModel):
    """An output that is wanted. ``parameters`` may have ``classification``, the number of best
    classes to name, and ``binary_data``.
    """

    name: str
    parameters: Parameters | None = None


class InferenceRequest(BaseModel):
    """Inputs, and the outputs wanted: all where they are left out. ``parameters`` may have
    ``timeout`` in microseconds, ``priority`` (1 comes first), ``binary_data_output``, and
    ``non_finite``: "null" for an answer that a strict JSON reader takes, "literal" for tokens.
    """

    id: str | None = None
    inputs: list[RequestInput] = Field(min_length=1)
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters | None = None


class ResponseOutput(BaseModel):
    """A tensor; ``data`` is flat. Floats that are not finite are the bare tokens NaN, Infinity and
    -Infinity, as Triton's client reads them; or null, where ``non_finite`` asks for it."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: Parameters | None = None


class InferenceResponse(BaseModel):
    """The outputs, with the version that gave them and the request's id."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class PredictInstances(BaseModel):
    """An instance for each row: its value, or an object with a value for each input. Values may be
    the bare tokens NaN, Infinity and -Infinity, and null for NaN. ``parameters`` may have
    ``non_finite``, as in v2.
    """

    instances: list[Any] = Field(min_length=1)
    parameters: Parameters | None = None


class PredictColumns(BaseModel):
    """A column for each input, as lists of a value a row; or the rows of the only input."""

    inputs: dict[str, Any] | list[Any] = Field(
        examples=[{"age": [42, 7], "city": ["Paris", "Oslo"]}]
    )
    parameters: Parameters | None = None


class SplitFrame(BaseModel):
    """A data frame as pandas writes it with ``to_dict(orient="split")``; the index is passed over.
    ``columns`` may be left out where the columns have the order of the inputs."""

    columns: list[str | int] | None = Field(None, examples=[["age", "city"]])
    data: list[list[Any]] = Field(min_length=1, examples=[[[42, "Paris"], [7, "Oslo"]]])
    index: list[Any] | None = None


class PredictSplit(BaseModel):
    """A data frame as MLflow takes it."""

    dataframe_split: SplitFrame
    parameters: Parameters | None = None


class PredictRecords(BaseModel):
    """A data frame as pandas writes it with ``to_dict(orient="records")``."""

    dataframe_records: list[dict[str, Any]] = Field(
        min_length=1, examples=[[{"age": 42, "city": "Paris"}, {"age": 7, "city": "Oslo"}]]
    )
    parameters: Parameters | None = None


class PredictRequest(RootModel[PredictInstances | PredictColumns | PredictSplit | PredictRecords]):
    """A table, in one of four forms. Columns are the model's inputs by name; or, where it has one
    input of rows of n values, its n values in their order."""


class PredictResponse(BaseModel):
    """A prediction for each instance: its value, or an object with a value for each output."""

    predictions: list[Any]


RAW = """Raw tensors may follow the JSON: give its length in `Inference-Header-Content-Length`, and
the length of each tensor in its `binary_data_size`. The body may be compressed, as
`Content-Encoding` says: gzip or deflate.

NaN and infinity are the bare tokens `NaN`, `Infinity` and `-Infinity` both ways, as in Triton and
TensorFlow Serving; `null` among floats is NaN. With `"parameters": {"non_finite": "null"}` the
answer has `null` in their place, for JSON readers that know no tokens (Go, JavaScript)."""


PREDICT = """A table in JSON, or in CSV with `Content-Type: text/csv`: the names of the columns in
the first line, unless the type says `; header=absent`. An empty cell is NaN for a float, and an
empty string for BYTES.

Where a row of an input is one value, `42` does as well as `[42]`. Rows of different lengths are
filled up where the model's `model.toml` has `[batching.padding]`."""
CSV_BODY = {"requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def inference_docs() -> APIRouter:
    """Routes to describe, not to include."""
    router = APIRouter(responses=ERRORS)

    @router.post(
        "/v2/models/{name}/infer", tags=["inference"], summary="Ask a model", description=RAW
    )
    async def infer(name: ModelName, body: InferenceRequest) -> InferenceResponse:
        raise NotImplementedError

    @router.post(
        "/v2/models/{name}/versions/{version}/infer",
        tags=["inference"],
        summary="Ask a version of a model",
        description=RAW,
    )
    async def infer_version(
        name: ModelName, version: VersionNumber, body: InferenceRequest
    ) -> InferenceResponse:
        raise NotImplementedError

    @router.post(
        "/v1/models/{name}:predict",
        tags=["V1"],
        summary="Ask a model, in V1",
        description=PREDICT,
        openapi_extra=CSV_BODY,
    )
    async def predict(name: ModelName, body: PredictRequest) -> PredictResponse:
        raise NotImplementedError

    @router.post(
        "/v1/models/{name}/versions/{version}:predict",
        tags=["V1"],
        summary="Ask a version of a model, in V1",
        description=PREDICT,
        openapi_extra=CSV_BODY,
    )
    async def predict_version(
        name: ModelName, version: VersionNumber, body: PredictRequest
    ) -> PredictResponse:
        raise NotImplementedError

    return router
