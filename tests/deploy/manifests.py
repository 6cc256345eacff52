"""The manifests for Kubernetes: as files, and as Kustomize builds them."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.prometheus import DEPLOY
from tests.patience import PATIENCE

Document = dict[str, Any]

KUBERNETES = DEPLOY / "kubernetes"
KSERVE = DEPLOY / "kserve"
OVERLAYS = ("single", "scaled", "fetched")
COMPONENTS = ("ingress", "monitoring", "tracing")
"""Those that every overlay takes."""


def documents(file: Path) -> list[Document]:
    """Return the documents of a file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def build(folder: Path) -> list[Document]:
    """Return the output of Kustomize for a folder."""
    done = subprocess.run(
        ["kubectl", "kustomize", folder],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@cache
def overlay(name: str) -> list[Document]:
    """Build an overlay unchanged."""
    return build(KUBERNETES / "overlays" / name)


def with_components(name: str, components: tuple[str, ...], folder: Path) -> list[Document]:
    """Build an overlay with added components; the kustomization is written to ``folder``."""
    up = "/".join([".."] * len(folder.resolve().parts[1:]))
    root = f"{up}{KUBERNETES.resolve()}"
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [f"{root}/overlays/{name}"],
                "components": [f"{root}/components/{each}" for each in components],
            }
        )
    )
    return build(folder)


def of_kind(all_of: list[Document], kind: str, name: str = "quantserve") -> Document:
    """Return the only document of a kind and name."""
    (found,) = (d for d in all_of if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def containers(node: Any) -> Iterator[Document]:
    """Return all containers in a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("containers", "initContainers"):
                yield from value
            yield from containers(value)
    elif isinstance(node, list):
        for each in node:
            yield from containers(each)
