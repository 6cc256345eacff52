"""A Llama of 2 layers with random weights, as Hugging Face and as llama.cpp store it.

numpy alone writes the files. python -m tests.quantization.language.hugging_face FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np

from service.core.tensors import Array
from tests.engine.generation.language import TEMPLATE, tokenizer_json, write_tokenizer

LAYERS, HEADS, KV_HEADS, SIZE, INNER, VOCABULARY, CONTEXT = 2, 4, 2, 16, 128, 512, 512
WIDTH = HEADS * SIZE
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": SIZE,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "tie_word_embeddings": False,
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}


TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
}


def write(folder: Path, **changes: object) -> Path:
    """Write the whole folder, with changes of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    write_safetensors(folder / "model.safetensors", weights())
    write_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    return folder


def weights(seed: int = 0) -> dict[str, Array]:
    """Return the weights by their name in Hugging Face's Llama, [outputs, inputs]."""
    random = np.random.default_rng(seed)

    def made(*shape: int) -> Array:
        return (random.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)

    found = {
        "model.embed_tokens.weight": made(VOCABULARY, WIDTH) * np.float32(8),
        "model.norm.weight": np.ones(WIDTH, np.float32),
        "lm_head.weight": made(VOCABULARY, WIDTH) * np.float32(4),
    }
    shapes = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (KV_HEADS * SIZE, WIDTH),
        "self_attn.v_proj": (KV_HEADS * SIZE, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            found[f"model.layers.{layer}.{name}.weight"] = made(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{layer}.{name}.weight"] = np.ones(WIDTH, np.float32)
    return found


def write_safetensors(path: Path, arrays: dict[str, Array]) -> None:
    """Write FP32 arrays in the format of safetensors: length of the header, header, values."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, array in arrays.items():
        span = [place, place + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": span}
        place = span[1]
    text = json.dumps(header).encode()
    values = b"".join(array.tobytes() for array in arrays.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def write_gguf(path: Path, kind: str = "Q8_0") -> Path:
    """Write the same model as a llama.cpp file; ``kind`` is gguf's name for its matrices' type."""
    import gguf

    to = gguf.GGUFWriter(path, "llama")
    to.add_context_length(CONTEXT)
    to.add_embedding_length(WIDTH)
    to.add_block_count(LAYERS)
    to.add_feed_forward_length(INNER)
    to.add_head_count(HEADS)
    to.add_head_count_kv(KV_HEADS)
    to.add_layer_norm_rms_eps(1e-5)
    to.add_rope_freq_base(1e4)
    to.add_rope_dimension_count(SIZE)
    to.add_vocab_size(VOCABULARY)
    tokenizer = json.loads(tokenizer_json())
    vocabulary = tokenizer["model"]["vocab"]
    special = {each["content"] for each in tokenizer["added_tokens"]}
    types = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    to.add_tokenizer_model("gpt2")
    to.add_tokenizer_pre("gpt-2")
    to.add_token_list(list(vocabulary))
    to.add_token_types([types[token in special] for token in vocabulary])
    to.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    to.add_bos_token_id(1)
    to.add_eos_token_id(2)
    to.add_pad_token_id(0)
    to.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    for name, array in weights().items():
        if "q_proj" in name or "k_proj" in name:
            array = _interleaved(array)
        as_kind = gguf.GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        found = names.get_name(name, try_suffixes=(".weight",))
        to.add_tensor(found, gguf.quants.quantize(array, as_kind), raw_dtype=as_kind)
    to.write_header_to_file()
    to.write_kv_data_to_file()
    to.write_tensors_to_file()
    to.close()
    return path


def _interleaved(array: Array) -> Array:
    """Order the outputs of each head as llama.cpp does: pairs that rotate together are adjacent."""
    found: Array = array.reshape(-1, 2, SIZE // 2, WIDTH).swapaxes(1, 2).reshape(array.shape)
    return found


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
