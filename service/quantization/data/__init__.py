"""Rows, runs and labels for calibration and evaluation.

reading         reads ``--data``: .npz, .npy, folders, functions, random rows
layout          decides whether inputs are rows of one batch, or whole runs
rows            the split into calibration, validation and test rows
runs            inputs of whole runs
casting         casts arrays to the model's dtypes
labels          finds and checks labels
labelled        scores outputs against labels
elements        aligns outputs with labels, for a metric
fitting         the default metric for an output without labels
user_functions  loads functions given as ``module:function``
"""
