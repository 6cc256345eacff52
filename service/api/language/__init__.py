"""Language models over HTTP.

openai        chats and completions in the format of OpenAI's API
openai_calls  the prompts of such a request, and the format of its answers
call_reader   answers with calls of functions, as OpenAI reports them
generate      Triton's generate extension
answers       from a request to the streams that answer it, and its outcome
event_stream  pieces of an answer as server-sent events
"""
