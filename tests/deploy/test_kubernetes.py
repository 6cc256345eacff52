"""The manifests that Kustomize builds are valid, and fit the server."""

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from service.cli import main
from service.config.settings import PREFIX, Settings
from tests.deploy.manifests import (
    COMPONENTS,
    KUBERNETES,
    OVERLAYS,
    Document,
    containers,
    of_kind,
    overlay,
    with_components,
)
from tests.inprocess import ROOT
from tests.parts import KUBECTL

pytestmark = KUBECTL.unless(shutil.which("kubectl"))

FOREIGN = ("monitoring.coreos.com", "keda.sh")
"""Groups of other projects, of which the validator has no schema."""
FETCHER = re.compile(r"kserve/storage-initializer:v\d+\.\d+\.\d+")
each_overlay = pytest.mark.parametrize("name", OVERLAYS)


def validate(document: Document) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def pod(name: str) -> Any:
    return of_kind(overlay(name), "Deployment")["spec"]["template"]["spec"]


def server(name: str) -> Any:
    (container,) = pod(name)["containers"]
    return container


@each_overlay
def test_manifests_fit_the_schema(name: str, tmp_path: Path) -> None:
    built = with_components(name, COMPONENTS, tmp_path)
    kinds = {document["kind"] for document in built}
    assert {"Deployment", "Service", "Ingress", "PrometheusRule", "ServiceMonitor"} <= kinds
    for document in built:
        if document["apiVersion"].partition("/")[0] in FOREIGN:
            assert document["spec"] and document["metadata"]["name"]
        else:
            validate(document)


def test_a_wrong_manifest_is_refused() -> None:
    document = of_kind(overlay("single"), "Deployment")
    wrong = {**document, "spec": {**document["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(wrong)


@each_overlay
def test_containers_are_restricted_and_have_limits(name: str) -> None:
    found = list(containers(overlay(name)))
    assert found
    for container in found:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"]
        assert not security["allowPrivilegeEscalation"]
        assert container["resources"]["limits"]["memory"]


@each_overlay
def test_images_come_from_the_configured_registry(name: str) -> None:
    for container in containers(overlay(name)):
        image = container["image"]
        assert image == "registry.example.com/quantserve:0.1.0" or FETCHER.fullmatch(image)


@each_overlay
def test_variables_are_settings(name: str, tmp_path: Path) -> None:
    built = with_components(name, COMPONENTS, tmp_path)
    (container,) = of_kind(built, "Deployment")["spec"]["template"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert {"QUANTSERVE_TRACING", "OTEL_EXPORTER_OTLP_ENDPOINT"} <= names
    ours = {each for each in names if not each.startswith("OTEL_")}
    assert {each.removeprefix(PREFIX).lower() for each in ours} <= set(Settings.model_fields)


@each_overlay
def test_service_links_are_disabled(name: str) -> None:
    assert pod(name)["enableServiceLinks"] is False


@each_overlay
def test_the_memory_budget_is_the_memory_limit(name: str) -> None:
    (budget,) = (e for e in server(name)["env"] if e["name"] == "QUANTSERVE_MEMORY_BUDGET")
    assert budget["valueFrom"]["resourceFieldRef"]["resource"] == "limits.memory"
    resources = server(name)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


@each_overlay
def test_mounted_volumes_exist(name: str) -> None:
    volumes = {each["name"]: each for each in pod(name)["volumes"]}
    mounted = [m["name"] for c in containers(pod(name)) for m in c.get("volumeMounts", ())]
    assert mounted and set(mounted) <= set(volumes)
    for volume in volumes.values():
        assert len(volume) == 2, f"a name and one source: {volume}"
        if claim := volume.get("persistentVolumeClaim"):
            of_kind(overlay(name), "PersistentVolumeClaim", claim["claimName"])


def test_a_volume_of_several_nodes_names_its_storage_class() -> None:
    claim = of_kind(overlay("scaled"), "PersistentVolumeClaim", "quantserve-models")["spec"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    valid = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
    assert not re.fullmatch(valid, claim["storageClassName"]), "the API server is to refuse it"


def test_a_volume_of_one_node_uses_the_default_class_and_one_pod() -> None:
    claim = of_kind(overlay("single"), "PersistentVolumeClaim", "quantserve-models")["spec"]
    assert claim["accessModes"] == ["ReadWriteOnce"] and "storageClassName" not in claim
    deployment = of_kind(overlay("single"), "Deployment")["spec"]
    assert deployment["replicas"] == 1 and deployment["strategy"] == {"type": "Recreate"}


def test_only_the_autoscaler_sets_the_replicas() -> None:
    for name in ("scaled", "fetched"):
        assert "replicas" not in of_kind(overlay(name), "Deployment")["spec"]
        scaler = of_kind(overlay(name), "HorizontalPodAutoscaler")["spec"]
        assert scaler["scaleTargetRef"]["name"] == "quantserve" and scaler["minReplicas"] >= 2


def test_keda_replaces_the_autoscaler(tmp_path: Path) -> None:
    built = with_components("scaled", ("keda",), tmp_path)
    assert not [d for d in built if d["kind"] == "HorizontalPodAutoscaler"]
    assert of_kind(built, "ScaledObject")["spec"]["scaleTargetRef"]["name"] == "quantserve"
    assert of_kind(built, "PodDisruptionBudget")


def policy(built: list[Document], name: str) -> Any:
    return of_kind(built, "NetworkPolicy", name)["spec"]


@each_overlay
def test_ingress_controllers_and_prometheus_reach_the_servers(name: str) -> None:
    (rule,) = policy(overlay(name), "quantserve")["ingress"]
    namespaces = {
        value
        for source in rule["from"]
        for expression in source.get("namespaceSelector", {}).get("matchExpressions", ())
        for value in expression["values"]
    }
    assert {"ingress-nginx", "traefik", "istio-system", "monitoring"} <= namespaces
    assert [port["port"] for port in rule["ports"]] == ["http", "grpc"]


def test_traces_reach_a_collector(tmp_path: Path) -> None:
    built = with_components("single", ("tracing",), tmp_path)
    (variable,) = (
        each
        for container in containers(built)
        for each in container.get("env", ())
        if each["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    port = int(variable["value"].rpartition(":")[2])
    (rule,) = policy(built, "quantserve-tracing")["egress"]
    assert {port, 53} <= {each["port"] for each in rule["ports"]}


def test_servers_have_no_other_egress() -> None:
    for name in ("single", "scaled"):
        assert not policy(overlay(name), "quantserve").get("egress")
    (rule,) = policy(overlay("fetched"), "quantserve-fetch")["egress"]
    assert {53, 80, 443} == {each["port"] for each in rule["ports"]}


def test_the_ingress_exposes_no_admin_routes(tmp_path: Path) -> None:
    built = with_components("single", ("ingress",), tmp_path)
    (rule,) = of_kind(built, "Ingress")["spec"]["rules"]
    paths = {each["path"]: each["pathType"] for each in rule["http"]["paths"]}
    assert paths == {
        "/v2": "Exact", "/v2/models": "Prefix", "/v2/health": "Prefix", "/v1/models": "Prefix",
        "/v1/chat/completions": "Exact", "/v1/completions": "Exact",
    }  # fmt: skip


def test_the_init_container_fills_a_new_volume_of_ext4(tmp_path: Path) -> None:
    """Run its arguments on a folder twice, as the container runs again with each pod."""
    (container,) = pod("scaled")["initContainers"]
    (mount,) = container["volumeMounts"]
    (tmp_path / "lost+found").mkdir(mode=0)
    arguments = [
        str(tmp_path) if each == mount["mountPath"] else each for each in container["args"]
    ]
    assert str(tmp_path) in arguments
    for _ in range(2):
        assert main(arguments) == 0
        assert (tmp_path / "digits/2/model.onnx").read_bytes() == (
            ROOT / "models/digits/2/model.onnx"
        ).read_bytes()


def test_every_file_is_used() -> None:
    """Check that a kustomization lists every file."""
    listed = {
        (file.parent / line.strip(" -")).resolve()
        for file in KUBERNETES.rglob("kustomization.yaml")
        for line in re.sub(r"path: ", "", file.read_text()).splitlines()
    }
    for file in KUBERNETES.rglob("*.yaml"):
        assert file.name == "kustomization.yaml" or file.resolve() in listed, file
