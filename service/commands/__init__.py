"""The commands of ``quantserve``, one per module: ``describe`` adds its flags, ``run`` executes it.

serve       serve a folder of models
list        list models and versions
bench       measure a running server
ready       check whether a server is ready
upload      store a version
swap        serve another version
rollback    serve the previous version again
examples    copy the shipped models
quantize    search for a quantized version
inspect     show how a model is quantized
tune        measure how a model runs best
hardware    show CPU features and kernel speeds
parser      the argument parser
remote      flags, keys and errors of commands to a running server
extra       errors for missing packages, and printing
lifetime    startup and shutdown of the serving process
key_file    the file of the generated admin key
open_files  the limit of open files
table       the table that is printed at the start
start_log   this table as lines of JSON
listing     models and versions of a server or a folder
columns     aligned columns of text
line_plot   a line plot as SVG
tune_report  what ``tune`` has found, as text, JSON, settings and a plot
progress    prints a swap, phase by phase
"""
