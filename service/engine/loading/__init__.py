"""From a version's folder to something that can serve, by measurement.

language           tokenizer, rows and trial of a language model
images             whether a version takes images, and how
text               tokenizer, task and lengths of a model that takes texts
lanes              how many threads decode a language model
loader             read, load, probe, plan
thread             a thread for one load, which may never end
turns              when versions are loaded
rehearsal          a first try in a process of its own
rehearsal_process  that process
samples            rows to try a model with
lengths            lengths to try for open axes
all_cores          one run on all cores, for every request or for a lone one
tuning             runs the measurements below, and decides by them
axes               whether several inputs share a batch
probe              what a model does with a batch
deviation          how far two sets of answers differ
padding            whether variable lengths may be filled up
plan               mode, batch size and instances, decided from what was measured
row_limit          requests with more rows than one run takes
promise            the speed stated in report.json, and whether it holds here
tuning_file        what quantserve tune chose, kept beside the model
trials             ways to run a model, measured side by side
advice             what would make a model faster
"""
