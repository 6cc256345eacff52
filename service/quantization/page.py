"""A report as one HTML page that needs nothing else."""

from typing import Any


def page(report: dict[str, Any]) -> str:
    """The page."""
    return f"<!doctype html><title>{report['name']}</title>"
