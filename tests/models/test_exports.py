"""Default exports of scikit-learn and LightGBM models give the answers of the original models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.engine.loading.loader import load
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs
from tests.parts import CONVERTERS, installed

NEEDED = ("skl2onnx", "sklearn", "scipy", "joblib", "onnxmltools", "lightgbm")
pytestmark = [
    CONVERTERS.unless(all(map(installed, NEEDED))),
    pytest.mark.filterwarnings("ignore"),  # of packages that are used as they are
]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((90, 4)).astype(np.float32)
CLASSES: dict[str, Any] = {
    "int": X[:, :3].argmax(1),
    "string": np.array(["cat", "dog", "bird"])[X[:, :3].argmax(1)],
    "binary": np.where(X[:, 0] > 0, 1, -1),
    "bool": X[:, 0] > 0,
}


def check(proto: Any, model: Any, output: str, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    session = Session(folder / "model.onnx", SessionOptions())
    classes = [str(int(each) if isinstance(each, np.bool_) else each) for each in model.classes_]
    assert session.labels == {output: tuple(classes)}
    label, shares = session.run((X,))
    np.testing.assert_allclose(shares, model.predict_proba(X), atol=1e-5)
    assert (label == model.predict(X)).mean() > 0.98  # a tie may fall either way in FP32


@pytest.mark.parametrize("kind", ["linear", "forest", "network", "calibrated"])
@pytest.mark.parametrize("classes", CLASSES)
def test_scikit_learn_exports_answer_like_the_model(
    kind: str, classes: str, tmp_path: Path
) -> None:
    from skl2onnx import to_onnx
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = {
        "linear": LogisticRegression(),
        "forest": RandomForestClassifier(5, random_state=0),
        "network": make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=20)),
        "calibrated": CalibratedClassifierCV(LogisticRegression(), cv=2),
    }[kind]
    model.fit(X, CLASSES[classes])
    check(to_onnx(model, X[:1]), model, "output_probability", tmp_path)


@pytest.mark.parametrize("classes", ["int", "string", "binary"])
def test_lightgbm_exports_answer_like_the_model(classes: str, tmp_path: Path) -> None:
    import onnxmltools
    from lightgbm import LGBMClassifier
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(X, CLASSES[classes])
    types = [("x", FloatTensorType([None, 4]))]
    proto = onnxmltools.convert_lightgbm(model, initial_types=types)
    check(proto, model, "probabilities", tmp_path)


@pytest.mark.parametrize("encoder", ["OneHotEncoder", "OrdinalEncoder"])
def test_encoders_that_reject_unknown_categories_are_batched(encoder: str, tmp_path: Path) -> None:
    """The rows of the probe are generated from its categories, so that batches are measured."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from sklearn import preprocessing
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [RANDOM.choice(["Oslo", "Paris"], len(X)) for _ in range(2)]
    table = np.stack([*X[:, :2].T, *texts, RANDOM.choice([3, 70], len(X))], 1, dtype=object)
    known = getattr(preprocessing, encoder)()
    columns = [("s", preprocessing.StandardScaler(), [0, 1]), ("e", known, [2, 3, 4])]
    model = make_pipeline(ColumnTransformer(columns), LogisticRegression())
    names = {"age": FloatTensorType, "income": FloatTensorType, "city": StringTensorType,
             "birthplace": StringTensorType, "kind": Int64TensorType}  # fmt: skip
    types = [(name, kind([None, 1])) for name, kind in names.items()]
    proto = to_onnx(model.fit(table, X[:, 0] > 0), initial_types=types)
    loaded = load(graphs.save(proto, tmp_path), ModelConfig(), 1)
    assert (loaded.plan.mode, loaded.plan.note) == (BatchingMode.COMBINE, "")
