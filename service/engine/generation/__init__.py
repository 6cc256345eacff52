"""Language models: continuous batching over the rows of one KV cache.

batcher         takes requests and gives streams, on the event loop
lane            a thread that runs steps
step_watch      time limits of steps
scheduler       which request is prefilled and which rows decode in a step; pure
language_model  what is loaded of a language model
decoder         the graph on its cache
cache           memory for keys and values, taken as rows grow
genai_config    what the model builder says of a decoder
sampling        from scores to tokens, for all rows of a step
answer          one answer as it is made
stream          one answer on its way to a client
grammar         answers of a given form, by a JSON schema or a regular expression
tool_syntax     how a model writes calls of functions
tool_parser     calls in the text of an answer
stops           strings that end an answer
tokenizer       text to tokens, and back one by one
teacher         what a model says of texts that it is led through
template_sandbox  where templates run, within bounds
chat_template   messages to the text that a model continues
"""
