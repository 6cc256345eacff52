"""Requests as OpenTelemetry traces; imported only if tracing is on.

spans      creates and exports the spans of a request
text       the spans of a request to a language model
inference  records the times that the spans show; without tracing, requests take the same path

OpenTelemetry's own variables set the destination and the sampling: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_TRACES_SAMPLER and others. Source: https://www.w3.org/TR/trace-context/ (and traceresponse:
https://w3c.github.io/trace-context/#traceresponse-header).
"""
