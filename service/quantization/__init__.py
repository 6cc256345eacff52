"""From an FP32 model and some rows to a version that was measured to be faster and right.

Knows no HTTP. Packages import those below them only:

    language    ``quantserve quantize`` of a language model
    pipeline    one ``quantserve quantize``: check, search, publish
    inspection  ``quantserve inspect``
    publish     the new version's folder, in one rename
    report      what a search found, for programs and people
    search      the loop over recipes, and the choice
    recipes     what to try, and how it is built
    evaluate    measures files: speed, accuracy, memory
    graphs      reads and rewrites graphs
    data        rows, runs and labels
    extras      the packages that quantizing needs, and which extra installs each
"""
