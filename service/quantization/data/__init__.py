"""Rows, runs and labels to calibrate and judge with.

reading         the forms that data may come in
layout          whether inputs are rows of one batch, or runs
rows            the split into calibration, validation and test rows
runs            inputs of whole runs
casting         arrays of a neighbouring dtype
labels          labels, found and checked
labelled        scores answers against labels
elements        answers beside labels, for a metric
fitting         the metric for an output without labels
user_functions  functions given as ``module:function``
"""
