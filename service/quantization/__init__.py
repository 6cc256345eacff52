"""From an FP32 model and some rows to a version that was measured to be faster and right.

Knows no HTTP. The way of a search, top to bottom; each file is one step:

    cli            what was asked
    source         the model file: is it usable, what kind of graph is it?
    layout         are its inputs rows of one batch, or runs of their own?
    reading        the forms that data may come in
    data           the rows: to calibrate on, and others to be judged on
    recipes        what to try, as values
    build          one recipe applied, by ONNX Runtime's own tools       (in a worker)
    trial          one file timed and scored against FP32                (in a fresh worker)
    decide         who won, and why
    search         the loop over all of it; mixed: which nodes to leave in float
    publish        the new version's folder, in one rename
    report         the same story as JSON and as a page
"""
