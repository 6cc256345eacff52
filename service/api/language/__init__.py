"""Language models over HTTP.

openai        chats and completions in the words of OpenAI's API
generate      Triton's generate extension
answers       from a request to the streams that answer it, and how it ended
event_stream  pieces of an answer as server-sent events
"""
