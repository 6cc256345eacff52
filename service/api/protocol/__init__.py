"""Bytes to values and back. Pure: knows neither sockets nor models that are loaded.

codec            Open Inference Protocol v2
v1               the V1 protocol
json_tensors     tensors in JSON
binary_tensors   tensors as raw bytes
json_table       tables in JSON
csv_table        tables as CSV
columns          named columns to tensors
cells            cells of text to arrays
nested           nested lists of V1, filled up where the model pads
non_finite       NaN and infinity in the JSON of inference
finite_json      answers with figures, in which they are null
json_body        small JSON bodies
json_size        values of a document, counted before any is made
byte_order       byte order marks
classification   Triton's classification extension
unsupported      extensions that are refused
answer_limit     answers that are too large
errors           the status of each error
openai_requests  requests of OpenAI's API, and of Triton's generate extension
openai_chat      chats of OpenAI's API
openai_tools     functions that a chat offers, and calls of them
openai_answers   answers of OpenAI's API
openai_errors    errors in its words
shared_memory    where tensors lie in shared memory
image_bodies     where a body has its images
image_answers    the best classes of images
text_requests    requests of OpenAI's embeddings and of TEI
text_answers     answers to them
text_tables      tables of texts in V1
pace             pauses of long work
"""
