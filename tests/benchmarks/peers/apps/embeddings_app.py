"""A FastAPI endpoint over sentence-transformers, in OpenAI's form: an endpoint that runs in
FastAPI's threads, with the package's own threads and defaults.

Arguments: the model's folder, ``fp32`` or ``int8``, the port. INT8 is dynamic quantization by the
package's own exporter to ONNX, which is kept beside the model.
"""

import base64
import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

FOLDER, PRECISION, PORT = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
FILE = "onnx/model_qint8_avx512_vnni.onnx"


class Question(BaseModel):
    model: str
    input: list[str]


class Embedding(BaseModel):
    index: int
    embedding: str


class Answer(BaseModel):
    data: list[Embedding]


def loaded() -> SentenceTransformer:
    if PRECISION == "fp32":
        return SentenceTransformer(str(FOLDER), device="cpu")
    if not (FOLDER / FILE).exists():
        whole = SentenceTransformer(str(FOLDER), device="cpu", backend="onnx")
        whole.save_pretrained(str(FOLDER))
        export_dynamic_quantized_onnx_model(whole, "avx512_vnni", str(FOLDER))
    return SentenceTransformer(
        str(FOLDER), device="cpu", backend="onnx", model_kwargs={"file_name": FILE}
    )


app = FastAPI()
model = loaded()


@app.post("/v1/embeddings")
def embeddings(question: Question) -> Answer:
    with torch.inference_mode():
        found = model.encode(question.input, batch_size=32, show_progress_bar=False)
    rows = [base64.b64encode(row.tobytes()).decode() for row in found]
    return Answer(data=[Embedding(index=i, embedding=row) for i, row in enumerate(rows)])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning")
