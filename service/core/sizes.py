"""Size limits of a request, and the sizes up to which the event loop encodes and decodes itself."""

HERE_BYTES = 32 * 1024
"""JSON and text that the event loop decodes itself: 0.1 to 1.5 ms, depending on the content."""
HERE_CSV = 8 * 1024
"""CSV that the event loop decodes itself: at most about a millisecond."""
HERE_VALUES = 16 * 1024
"""Numbers that the event loop writes as JSON itself: 0.4 to 1 ms."""
HERE_STRINGS = 1024
"""The same limit for strings, and for the classes of a classification."""
HERE_COPY = 1024 * 1024
"""Bytes of an array that the event loop copies itself: about half a millisecond."""
HUGE = 4 * 2**20
"""Bytes from which a body or an answer uses the lane for huge bodies."""
MAX_JSON_VALUES = 4 * 2**20
"""Values in the JSON of one request; a list or an object counts as three. Each becomes an object of
about 40 bytes before it becomes a number of one to eight."""
MAX_STRINGS = 64 * 1024
"""BYTES elements of one request, or of the answer to a classification."""
MAX_TEXT = 4 * 2**20
"""Bytes in the BYTES elements of one request. ONNX Runtime holds the interpreter lock while it
converts them: about 10 ms in each direction for this limit."""
MOST_IMAGES = 256
"""Images of one request."""
