"""KServe and Knative accept the runtime, and the examples name it."""

from typing import Any

import pytest

from service.config.settings import PREFIX, Settings
from tests.deploy.manifests import KSERVE, Document, containers, documents

EXAMPLES = [
    pytest.param(document, id=document["metadata"]["name"])
    for file in sorted(KSERVE.glob("*.yaml"))
    for document in documents(file)
    if document["kind"] == "InferenceService"
]
KNATIVE = {
    "name", "image", "args", "command", "env", "ports", "resources", "readinessProbe",
    "livenessProbe", "securityContext",
}  # fmt: skip
"""Fields of a container that every release of Knative takes; it refuses startupProbe until 1.15."""
KNATIVE_SECURITY = {
    "runAsNonRoot", "runAsUser", "allowPrivilegeEscalation", "readOnlyRootFilesystem",
    "capabilities", "seccompProfile",
}  # fmt: skip
SCHEMES = ("pvc://", "s3://", "gs://", "https://", "hf://")


def runtime() -> Any:
    (document,) = documents(KSERVE / "runtime.yaml")
    return document


def test_kserve_finds_its_container_and_port() -> None:
    (container,) = runtime()["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["ports"][0]["containerPort"] == 8080
    assert "--port" in container["args"] and "8080" in container["args"]


def test_swaps_on_a_mount_that_cannot_be_written_are_allowed() -> None:
    (container,) = runtime()["spec"]["containers"]
    assert {"name": "QUANTSERVE_NO_PIN", "value": "true"} in container["env"]


def test_knative_accepts_the_container() -> None:
    (container,) = runtime()["spec"]["containers"]
    assert set(container) <= KNATIVE
    assert set(container["securityContext"]) <= KNATIVE_SECURITY
    assert all(set(each) == {"name", "value"} for each in container["env"])


def test_the_container_is_restricted_and_has_limits() -> None:
    (container,) = containers(runtime())
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"]["limits"]["memory"]


def test_arguments_and_variables_are_settings() -> None:
    (container,) = containers(runtime())
    flags = [each for each in container["args"] if each.startswith("--")]
    names = [each["name"].removeprefix(PREFIX).lower() for each in container["env"]]
    assert {flag[2:].replace("-", "_") for flag in flags} | set(names) <= set(Settings.model_fields)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_fit_the_runtime(example: Document) -> None:
    model, spec = example["spec"]["predictor"]["model"], runtime()["spec"]
    assert model["runtime"] == runtime()["metadata"]["name"]
    assert model["protocolVersion"] in spec["protocolVersions"]
    assert model["modelFormat"]["name"] in [e["name"] for e in spec["supportedModelFormats"]]
    assert model["storageUri"].startswith(SCHEMES)
