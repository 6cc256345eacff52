"""A FastAPI endpoint as everybody writes it first: pydantic in and out, ONNX Runtime's defaults."""

from typing import Any

import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model
from shared import INPUTS, OUTPUT, PORT, SETTINGS, from_lists

KINDS = {"f4": list[float], "i8": list[int]}
FIELDS: dict[str, Any] = {name: (KINDS[kind], ...) for name, (kind, _) in INPUTS.items()}
Question = create_model("Question", **FIELDS)
app = FastAPI()
session = onnxruntime.InferenceSession(SETTINGS["model"], providers=["CPUExecutionProvider"])


class Answer(BaseModel):
    y: list[float]


@app.post("/predict")
async def predict(question: Question) -> Answer:
    rows = session.run([OUTPUT], from_lists([question.model_dump()]))[0]
    return Answer(y=rows[0].tolist())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
