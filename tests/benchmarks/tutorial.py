"""A typical first server: FastAPI, pydantic models and `session.run` in the endpoint.

Written as in a tutorial (default session options, lists in and out), but without the access
log. `--style sync` makes the endpoint a plain `def`, run in the thread pool.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

DTYPES = {"FP32": np.float32, "INT64": np.int64}


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    inputs: list[Tensor]


class InferResponse(BaseModel):
    model_name: str
    model_version: str
    outputs: list[Tensor]


def create_app(model: Path, style: str) -> FastAPI:
    app = FastAPI()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def predict(name: str, request: InferRequest) -> InferResponse:
        feed = {
            tensor.name: np.array(tensor.data, DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor in request.inputs
        }
        outputs = [
            Tensor(
                name=output,
                shape=list(array.shape),
                datatype="FP32",
                data=array.flatten().tolist(),
            )
            for output, array in zip(names, session.run(names, feed), strict=True)
        ]
        return InferResponse(model_name=name, model_version="1", outputs=outputs)

    async def predict_in_loop(name: str, request: InferRequest) -> InferResponse:
        return predict(name, request)

    @app.get("/v2/models/{name}/ready")
    def ready(name: str) -> dict[str, object]:
        return {"name": name, "ready": True}

    endpoint = predict if style == "sync" else predict_in_loop
    app.post("/v2/models/{name}/infer")(endpoint)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--style", choices=("async", "sync"), default="async")
    args = parser.parse_args()
    uvicorn.run(
        create_app(args.model, args.style),
        host="127.0.0.1",
        port=args.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
