"""The results of a search, as JSON, HTML and text.

report        the results of a search, as values
json_report   report.json
page          report.html
plot          its plot of speed and accuracy
label_places  places the labels of the plot
table         the candidates as a text table
told          the final output of ``quantize``
progress      the progress line
"""
