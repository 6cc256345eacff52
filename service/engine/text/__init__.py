"""Texts to tensors and back, for models with a tokenizer.

batcher         tokenises requests in a thread, and puts their texts into the queue of the version
asked           one request in text: its texts, the groups that run, and its answer
model           the inputs and outputs of a version's requests in text
heads           from the outputs of a run to embeddings, scores and labels
spans           parts of a text, found by the labels of its tokens
tokenizer       texts to tokens
tokenizer_file  reads tokenizer.json
hub_files       reads the other files of a Hugging Face repository: task, labels, pooling, lengths
"""
