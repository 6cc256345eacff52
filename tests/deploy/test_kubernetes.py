"""Manifests are what Kubernetes takes, and start the server with settings that it knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config import PREFIX, Settings
from tests.deploy.prometheus import DEPLOY

FILES = sorted([*(DEPLOY / "kubernetes").glob("*.yaml"), *(DEPLOY / "kserve").glob("*.yaml")])
FOREIGN = ("monitoring.coreos.com", "serving.kserve.io")
"""Groups of other projects, of which the validator has no schema."""


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


ALL = [
    pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")
    for file in FILES
    for document in documents(file)
]


def containers(node: Any) -> Iterator[dict[str, Any]]:
    """Containers wherever they are in a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("containers", "initContainers"):
                yield from value
            yield from containers(value)
    elif isinstance(node, list):
        for each in node:
            yield from containers(each)


@pytest.mark.parametrize("document", ALL)
def test_a_manifest_fits_the_schema(document: dict[str, Any]) -> None:
    if document["apiVersion"].partition("/")[0] in FOREIGN:
        assert document["spec"] and document["metadata"]["name"]
        return
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_manifest_is_refused() -> None:
    document = next(
        d for d in documents(DEPLOY / "kubernetes/quantserve.yaml") if d["kind"] == "Deployment"
    )
    document["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("document", ALL)
def test_containers_are_locked_up_and_limited(document: dict[str, Any]) -> None:
    for container in containers(document):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"]
        assert not security["allowPrivilegeEscalation"]
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("document", ALL)
def test_variables_are_settings(document: dict[str, Any]) -> None:
    for container in containers(document):
        for variable in container.get("env", ()):
            assert variable["name"].removeprefix(PREFIX).lower() in Settings.model_fields


def test_the_names_of_services_do_not_become_settings() -> None:
    (pod,) = [
        document["spec"]["template"]["spec"]
        for file in FILES
        for document in documents(file)
        if document["kind"] == "Deployment"
    ]
    assert pod["enableServiceLinks"] is False


def test_kserve_gets_what_it_asks_for() -> None:
    (runtime,) = documents(DEPLOY / "kserve/runtime.yaml")
    (example,) = documents(DEPLOY / "kserve/digits.yaml")
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["ports"][0]["containerPort"] == 8080
    model = example["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = [each["name"] for each in runtime["spec"]["supportedModelFormats"]]
    assert model["modelFormat"]["name"] in formats
