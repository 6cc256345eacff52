"""The commands of ``quantserve``, one a file: ``describe`` tells its flags, ``run`` does it.

serve       serve a folder
list        models and versions
bench       measure a running server
ready       whether a server is ready
upload      store a version
swap        let another version serve
rollback    let the one before serve
examples    copy the shipped models
quantize    make a quantized version
inspect     how a model is quantized
hardware    what this machine can do
parser      the command line
remote      what commands to a server share
extra       what needs more packages than serving
lifetime    the end of the serving process
key_file    the admin key that a server makes
open_files  how many connections may be open
table       the table at the start
start_log   the same as JSON
listing     what there is to serve
columns     columns of text
progress    a swap, phase by phase
"""
