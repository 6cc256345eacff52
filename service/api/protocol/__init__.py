"""From bytes to values and back, without I/O: independent of sockets and of loaded models.

codec            Open Inference Protocol v2
request_fields   the fields of its requests other than the inputs
v1               the V1 protocol
json_tensors     tensors in JSON
binary_tensors   tensors as raw bytes
json_table       tables in JSON
csv_table        tables as CSV
columns          named columns to tensors
cells            cells of text to arrays
nested           nested lists of V1, padded if the model has padding
non_finite       NaN and infinity in the JSON of inference
finite_json      answers of the control plane, with null for NaN and infinity
json_body        small JSON bodies
json_size        number of values in a document, counted before it is parsed
byte_order       byte order marks
classification   Triton's classification extension
unsupported      extensions that are refused
answer_limit     answers that are too large
errors           the status of each error
openai_requests  requests of OpenAI's API, and of Triton's generate extension
openai_chat      chats of OpenAI's API
openai_tools     functions that a chat may call, and calls of them
openai_answers   answers of OpenAI's API
openai_errors    errors of OpenAI's API
shared_memory    places of tensors in shared memory
image_bodies     images in the bodies of requests
image_answers    the best classes of images
text_requests    requests of OpenAI's embeddings and of TEI
text_answers     answers to text requests
text_tables      tables of texts in V1
pace             pauses of long work
"""
