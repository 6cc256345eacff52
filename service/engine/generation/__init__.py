"""Language models: continuous batching over the rows of one KV cache.

batcher         accepts requests and returns streams, on the event loop
lane            a thread that runs steps
step_watch      time limits of steps
scheduler       which request is prefilled and which rows decode in a step; pure
language_model  the loaded parts of a language model
kept_prompts    which prompts the rows of a cache hold, to read no beginning twice; pure
decoder         the graph with its cache
cache           memory for keys and values, allocated as rows grow
genai_config    the decoder's settings, as the model builder writes them
sampling        from scores to tokens, for all rows of a step
answer          the state of one answer
stream          one answer on its way to a client
grammar         answers of a given form, by a JSON schema or a regular expression
tool_syntax     the syntax in which a model writes function calls
tool_parser     function calls in the text of an answer, piece by piece
json_reader     reads JSON text that arrives in pieces
stops           strings that end an answer
tokenizer       text to tokens, and back one by one
teacher         a model's predictions for given texts
template_sandbox  the sandbox in which templates run, with limits
chat_template   messages to the text that a model continues
"""
