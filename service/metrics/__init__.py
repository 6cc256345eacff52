"""Metrics for Prometheus.

page      the metrics page, and the metrics of the server
versions  metrics of models and versions
language  metrics of language models
"""
