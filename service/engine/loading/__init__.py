"""Loads a version from its folder, and chooses how to run it by measurement.

language           the files of a language model beside its graph
language_trial     a trial of a language model, and the number of rows that it decodes
images             whether a version accepts images, and their settings
text               tokenizer, task and lengths of a model that accepts texts
lanes              how many threads decode a language model
loader             reads the files of a version, and creates its session
warm_up            probes it, plans how to run it, and creates its instances
loaded             the values that describe a loaded version
thread             a thread for one load, which may never end
turns              when versions are loaded
rehearsal          a first load in a separate process
rehearsal_process  the main module of that process
samples            rows to try a model with
lengths            lengths to try for open axes
all_cores          one run on all cores, for every request or for a lone request
tuning             runs measurements, and decides how to run a graph
axes               whether several inputs share a batch
probe              how a model handles a batch
deviation          how far two sets of answers differ
padding            whether variable lengths may be padded
plan               mode, batch size and instances, decided from the measurements
row_limit          requests with more rows than the limit of one run
promise            the speed stated in report.json, and whether it applies to this machine
tuning_file        the choice of quantserve tune, stored beside the model
trials             ways to run a model, measured alternately
advice             how to make a model faster
"""
