"""The inference routes in the OpenAPI document. The data plane answers these paths before FastAPI
sees them, and decodes their bodies with its own codec. The functions here are never called, and the
models are for the document only."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, RootModel

from service.api.control.error_handlers import ANY_ERROR, documented
from service.api.control.lookup import NOT_FOUND, ModelName, VersionNumber

Parameters = dict[str, Any]
"""Strings, numbers and booleans. Parameters that clients add of their own are ignored."""
ERRORS = (
    documented(400, "The request is wrong; the error names the place and what was expected")
    | NOT_FOUND
    | documented(413, "The body or the answer is larger than the server's limit")
    | documented(500, "The model failed")
    | documented(503, "Not ready, or too many requests wait: try again")
    | documented(504, "The request waited longer than its timeout, or the run took too long")
    | ANY_ERROR
)


class RequestInput(BaseModel):
    """A tensor. Numbers in ``data`` are converted to the model's datatype if only rounding is lost.
    ``data`` may be flat or nested. It is left out if ``parameters`` has ``binary_data_size``; then
    the values follow the JSON part of the body. For FP16, BF16, FP32 and FP64, ``data`` may have
    the bare tokens NaN, Infinity and -Infinity, and null for NaN.
    """

    name: str
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[1, 4]])
    data: list[Any] | None = None
    parameters: Parameters | None = None


class RequestedOutput(BaseModel):
    """A requested output. ``parameters`` may have ``classification``, the number of best classes to
    return, and ``binary_data``.
    """

    name: str
    parameters: Parameters | None = None


class InferenceRequest(BaseModel):
    """Inputs and requested outputs. Without ``outputs``, all outputs are returned. ``parameters``
    may have ``timeout`` in microseconds, ``priority`` (1 is the highest), ``binary_data_output``,
    and ``non_finite``: "null" for an answer that is strict JSON, "literal" for tokens.
    """

    id: str | None = None
    inputs: list[RequestInput] = Field(min_length=1)
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters | None = None


class ResponseOutput(BaseModel):
    """A tensor; ``data`` is flat. Floats that are not finite are the bare tokens NaN, Infinity and
    -Infinity, which Triton's client can read; or null, if ``non_finite`` requests it."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: Parameters | None = None


class InferenceResponse(BaseModel):
    """The outputs, with the version that computed them and the request's id."""

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
    """A column for each input, as a list with one value per row; or the rows of the only input."""

    inputs: dict[str, Any] | list[Any] = Field(
        examples=[{"age": [42, 7], "city": ["Paris", "Oslo"]}]
    )
    parameters: Parameters | None = None


class SplitFrame(BaseModel):
    """A data frame as written by pandas' ``to_dict(orient="split")``. The index is ignored.
    ``columns`` may be left out if the columns have the order of the inputs."""

    columns: list[str | int] | None = Field(None, examples=[["age", "city"]])
    data: list[list[Any]] = Field(min_length=1, examples=[[[42, "Paris"], [7, "Oslo"]]])
    index: list[Any] | None = None


class PredictSplit(BaseModel):
    """A data frame in the format of MLflow."""

    dataframe_split: SplitFrame
    parameters: Parameters | None = None


class PredictRecords(BaseModel):
    """A data frame as written by pandas' ``to_dict(orient="records")``."""

    dataframe_records: list[dict[str, Any]] = Field(
        min_length=1, examples=[[{"age": 42, "city": "Paris"}, {"age": 7, "city": "Oslo"}]]
    )
    parameters: Parameters | None = None


class PredictRequest(RootModel[PredictInstances | PredictColumns | PredictSplit | PredictRecords]):
    """A table, in one of four forms. Columns are the model's inputs by name. If the model has only
    one input with n values per row, there are n columns in the order of the values."""


class PredictResponse(BaseModel):
    """A prediction for each instance: its value, or an object with a value for each output."""

    predictions: list[Any]


RAW = """Raw tensors may follow the JSON. Then `Inference-Header-Content-Length` must be the length
of the JSON, and `binary_data_size` of each such tensor the length of its data. The body may be
compressed with gzip or deflate; `Content-Encoding` names the encoding.

NaN and infinity are the bare tokens `NaN`, `Infinity` and `-Infinity` in requests and answers, as
in Triton and TensorFlow Serving. `null` among floats is NaN. With
`"parameters": {"non_finite": "null"}` the answer has `null` instead, for JSON parsers that do not
accept the tokens (Go, JavaScript)."""


PREDICT = """A table in JSON, or in CSV with `Content-Type: text/csv`. The first line has the names
of the columns, unless the Content-Type has `; header=absent`. An empty cell is NaN for a float, and
an empty string for BYTES.

If a row of an input is one value, `42` and `[42]` are equivalent. Rows of different lengths are
padded if the model's `model.toml` has `[batching.padding]`."""
CSV_BODY = {"requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def inference_docs() -> APIRouter:
    """Return routes for the document only. They are not included in the application."""
    router = APIRouter(responses=ERRORS)

    @router.post(
        "/v2/models/{name}/infer", tags=["inference"], summary="Run a model", description=RAW
    )
    async def infer(name: ModelName, body: InferenceRequest) -> InferenceResponse:
        raise NotImplementedError

    @router.post(
        "/v2/models/{name}/versions/{version}/infer",
        tags=["inference"],
        summary="Run a version of a model",
        description=RAW,
    )
    async def infer_version(
        name: ModelName, version: VersionNumber, body: InferenceRequest
    ) -> InferenceResponse:
        raise NotImplementedError

    @router.post(
        "/v1/models/{name}:predict",
        tags=["V1"],
        summary="Run a model, in V1",
        description=PREDICT,
        openapi_extra=CSV_BODY,
    )
    async def predict(name: ModelName, body: PredictRequest) -> PredictResponse:
        raise NotImplementedError

    @router.post(
        "/v1/models/{name}/versions/{version}:predict",
        tags=["V1"],
        summary="Run a version of a model, in V1",
        description=PREDICT,
        openapi_extra=CSV_BODY,
    )
    async def predict_version(
        name: ModelName, version: VersionNumber, body: PredictRequest
    ) -> PredictResponse:
        raise NotImplementedError

    return router
