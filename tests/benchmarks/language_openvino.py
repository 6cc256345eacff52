"""openvino-genai as a peer of ``tests.benchmarks.language``, run by a Python that has it:

    PYTHON language_openvino.py FILE.gguf

One thread. Each line of standard input is ``[[text, ...], tokens]``; each line of standard output
is the seconds that these greedy answers took together.
"""

import json
import sys
from time import perf_counter

import openvino_genai as genai


def main() -> None:
    """Answer until the input ends."""
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs = 1, 16
    scheduler.enable_prefix_caching = False
    given = {"scheduler_config": scheduler, "INFERENCE_NUM_THREADS": 1}
    pipeline = genai.LLMPipeline(sys.argv[1], "CPU", **given)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        texts, tokens = json.loads(line)
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos = tokens, True
        config.do_sample = config.apply_chat_template = False
        started = perf_counter()
        pipeline.generate(texts, config)
        print(json.dumps(perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
