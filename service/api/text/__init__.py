"""Routes for texts, in addition to the input ``text`` of the data plane.

embeddings  POST /v1/embeddings in the format of OpenAI's API
tei         POST /embed, /rerank and /predict in the format of Text Embeddings Inference
choosing    the model for a request that names none
asking      from the texts of a request to the outputs of a model
"""
