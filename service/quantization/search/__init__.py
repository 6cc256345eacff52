"""The loop over recipes, and the choice.

search           every recipe built, tried and judged
task             the values of a search
formats          the order of recipes, by the speed of their formats here
decide           who won
reasons          the decision in words
mixed_precision  which nodes to leave in float
sensitivity      how much each part suffers from quantization
confirmation     the last rounds: side by side, and on test rows
journal          what was found so far, to resume
workplace        the working folder
"""
