"""The page on upgrading names existing settings and files."""

import re

import pytest

from service.config.model import ModelConfig
from service.config.settings import Settings
from tests.deploy.prometheus import DEPLOY
from tests.inprocess import ROOT

PAGE = (DEPLOY / "UPGRADING.md").read_text()
OF_COMMANDS = {"--allow-signature-change"}


def test_named_flags_exist() -> None:
    flags = set(re.findall(r"`(--[a-z-]+)", PAGE)) - OF_COMMANDS
    assert flags
    assert {flag[2:].replace("-", "_") for flag in flags} <= set(Settings.model_fields)


def test_named_tables_of_settings_exist() -> None:
    tables = set(re.findall(r"`\[(\w+)\]", PAGE))
    assert tables and tables <= set(ModelConfig.model_fields)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:deploy|tests)/[\w./-]*\w", PAGE))))
def test_named_paths_exist(path: str) -> None:
    gone = {"deploy/kubernetes/quantserve.yaml"}
    assert (ROOT / path).exists() != (path in gone)


def test_the_changelog_and_the_readme_link_to_the_page() -> None:
    for name in ("CHANGELOG.md", "README.md"):
        assert "(deploy/UPGRADING.md)" in (ROOT / name).read_text(), name
