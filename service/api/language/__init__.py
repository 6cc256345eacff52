"""Language models over HTTP.

openai        chats and completions in the words of OpenAI's API
openai_calls  what such a request asks, and how its answers are written
call_reader   calls of functions in an answer
generate      Triton's generate extension
answers       from a request to the streams that answer it, and how it ended
event_stream  pieces of an answer as server-sent events
"""
