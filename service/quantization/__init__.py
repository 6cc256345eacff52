"""Searches for a quantized version of an FP32 model that is measurably faster and accurate enough.

Independent of HTTP. A subpackage imports only subpackages below it in this list:

    language    ``quantserve quantize`` of a language model
    pipeline    one ``quantserve quantize``: check, search, publish
    inspection  ``quantserve inspect``
    publish     writes a new version's folder, published by one rename
    report      the results of a search, as JSON, HTML and text
    search      the loop over recipes, and the selection of the winner
    recipes     quantization recipes, and how each is built
    evaluate    measures model files: speed, accuracy, memory
    graphs      reads and rewrites graphs
    data        rows, runs and labels
    extras      the packages that quantizing needs, and which extra installs each
"""
