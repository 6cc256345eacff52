"""Builds models/diabetes: an INT8 regression on two embedded categories and eight measurements.

It shows a model with several inputs of different types. The golden rows are invented patients,
drawn within the ranges of the training rows: no row of the data set is copied into the repository.

    python scripts/models/diabetes.py [--keep-fp32 FOLDER]

Needs torch, onnx, onnxruntime, numpy, scipy, scikit-learn.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import sequential
import torch
from golden import write_example, write_golden
from graph import Graph
from heldout import SEED, Patients, diabetes
from measure import answer, kernels, kilobytes, milliseconds, table
from quantize_static import Feeds, tables_to_int8, to_int8
from sklearn.metrics import mean_absolute_error, r2_score
from strip import save
from torch import nn
from torch.nn import functional

DESTINATION = Path("models/diabetes")
EPOCHS = 60
BATCH = 32
GOLDEN = 16


class Network(nn.Module):
    """Embedded categories and standardised measurements, followed by a perceptron."""

    def __init__(self, rows: Patients) -> None:
        super().__init__()
        self.sex = nn.Embedding(2, 8)
        self.decade = nn.Embedding(10, 8)
        self.perceptron = nn.Sequential(
            nn.Linear(24, 256), nn.ReLU(), nn.Dropout(0.4),
            nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.4),
            nn.Linear(256, 1),
        )  # fmt: skip
        self.mean = rows.measurements.mean(axis=0)
        self.deviation = rows.measurements.std(axis=0)
        self.level = rows.progression.mean(axis=0)
        self.spread = rows.progression.std(axis=0)

    def forward(self, categories: torch.Tensor, standardised: torch.Tensor) -> torch.Tensor:
        """Return the standardised progression."""
        embedded = [self.sex(categories[:, 0]), self.decade(categories[:, 1])]
        return self.perceptron(torch.cat([*embedded, standardised], dim=1))


def train(rows: Patients) -> Network:
    """Train on shuffled minibatches. Dropout and weight decay limit the overfitting of 73,000
    weights to 332 rows."""
    torch.manual_seed(SEED)
    network = Network(rows)
    categories = torch.from_numpy(rows.categories)
    inputs = torch.from_numpy((rows.measurements - network.mean) / network.deviation)
    targets = torch.from_numpy((rows.progression - network.level) / network.spread)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(targets)).split(BATCH):
            loss = functional.mse_loss(network(categories[batch], inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    network.eval()
    return network


def to_onnx(network: Network) -> onnx.ModelProto:
    """Return the trained network in FP32, from raw units to raw units."""
    graph = Graph("diabetes")
    categories = graph.integers_in("categories", ["batch", 2])
    measurements = graph.floats_in("measurements", ["batch", 8])
    embedded = [
        _embedded(graph, name, column, table.weight.detach().numpy(), categories)
        for column, (name, table) in enumerate([("sex", network.sex), ("decade", network.decade)])
    ]
    mean = graph.constant("measurements.mean", network.mean)
    deviation = graph.constant("measurements.deviation", network.deviation)
    centred = graph.node("Sub", measurements, mean, to="centred")
    standardised = graph.node("Div", centred, deviation, to="standardised")
    joined = graph.node("Concat", *embedded, standardised, to="joined", axis=1)
    score = sequential.append(graph, network.perceptron, joined)
    spread = graph.constant("progression.spread", network.spread)
    level = graph.constant("progression.level", network.level)
    graph.node("Add", graph.node("Mul", score, spread, to="scaled"), level, to="progression")
    graph.floats_out("progression", ["batch", 1])
    return graph.model()


def _embedded(graph: Graph, name: str, column: int, rows: np.ndarray, categories: str) -> str:
    index = graph.constant(f"{name}.column", np.int64(column))
    code = graph.node("Gather", categories, index, to=f"{name}.code", axis=1)
    return graph.node("Gather", graph.constant(f"{name}.table", rows), code, to=name, axis=0)


def quantize(fp32: onnx.ModelProto, rows: Patients) -> onnx.ModelProto:
    """Quantize tables and hidden layers to INT8. Conversions of units, and the last 256 weights,
    stay in float."""
    feeds = [_feeds(rows, slice(row, row + 1)) for row in range(len(rows.progression))]
    # The last layer in eight bits would round the answer to 256 levels and save nothing.
    hidden = [node.name for node in fp32.graph.node if node.op_type == "Gemm"][:-1]
    relus = [node.name for node in fp32.graph.node if node.op_type == "Relu"]
    return tables_to_int8(to_int8(fp32, feeds, ["Gemm", "Relu"], [*hidden, *relus]))


def _feeds(rows: Patients, part: slice = slice(None)) -> Feeds:
    return {"categories": rows.categories[part], "measurements": rows.measurements[part]}


def invented(rows: Patients) -> Feeds:
    """Return invented patients: categories in rotation, correlated measurements drawn at random."""
    random = np.random.default_rng(SEED)
    mean, covariance = rows.measurements.mean(axis=0), np.cov(rows.measurements.T)
    drawn = random.multivariate_normal(mean, covariance, GOLDEN)
    low, high = rows.measurements.min(axis=0), rows.measurements.max(axis=0)
    measurements = np.round(np.clip(drawn, low, high), 1).astype(np.float32)
    categories = np.stack([np.arange(GOLDEN) % 2, 2 + np.arange(GOLDEN) // 2 % 6], axis=1)
    return {"categories": categories.astype(np.int64), "measurements": measurements}


def report(paths: list[Path], test: Patients) -> str:
    """Return a table that compares FP32 and INT8 on held-out patients."""
    batches = [_feeds(test, slice(0, size)) for size in (1, 32)]
    times = [milliseconds(paths, feeds, rounds=2000) for feeds in batches]
    lines = []
    for path, precision, *spent in zip(paths, ("FP32", "INT8"), *times, strict=True):
        progression = answer(path, _feeds(test))
        r2 = r2_score(test.progression, progression)
        error = mean_absolute_error(test.progression, progression)
        integer, floating = kernels(path)
        kinds = f"{integer} int, {floating} float"
        clock = [f"{time:.4f}" for time in spent]
        size = f"{kilobytes(path):.1f}"
        lines.append([precision, size, f"{r2:.3f}", f"{error:.1f}", *clock, kinds])
    return table(["", "kB", "R2", "error", "ms b1", "ms b32", "matrix kernels"], lines)


def main() -> None:
    """Build the model and print a comparison of FP32 and INT8."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep-fp32", type=Path, help="folder to keep the FP32 model in")
    kept = parser.parse_args().keep_fp32
    torch.use_deterministic_algorithms(True)
    rows, test = diabetes()
    fp32 = to_onnx(train(rows))
    with TemporaryDirectory() as scratch:
        twin = save(fp32, (kept or Path(scratch)) / "diabetes/1/model.onnx")
        int8 = save(quantize(fp32, rows), DESTINATION / "1/model.onnx")
        patients = invented(rows)
        write_golden(DESTINATION, patients, {"progression": answer(twin, patients)})
        one = {name: values[:1] for name, values in patients.items()}
        write_example(DESTINATION, one, {"name": "progression"}, width=8)
        print(report([twin, int8], test))


if __name__ == "__main__":
    main()
