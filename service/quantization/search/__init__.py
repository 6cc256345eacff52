"""The loop over recipes, and the selection of the winner.

search           builds, measures and judges every recipe
task             the values of a search: task, progress, outcome
formats          orders recipes by the speed of their number formats on this CPU
decide           selects the winner
reasons          the decision as text
mixed_precision  chooses nodes to leave in float
sensitivity      the quantization noise of each part of a graph
confirmation     the last measurements: the best side by side, and on test rows
journal          the results so far, to resume a search
workplace        the working folder
"""
