"""What a search found, for programs and people.

report        what a search found, as values
json_report   report.json
page          report.html
plot          its plot of speed and accuracy
label_places  places for the labels of the plot
table         the candidates as text
told          what ``quantize`` prints at its end
progress      the progress line
"""
