"""The models folder on disk: reading and writing.

root             the folder of all models, and what it may be
listing          the entries of a folder, for ``core.layout``
folder           one model's folder: versions, settings, problems
hub_json         JSON files of a Hugging Face repository
class_names      names of classes in a config.json of Hugging Face's
access           what may not be read or written, and what to do
golden           the golden set
language_golden  that of a language model
npz              arrays of .npz and .npy files, within bounds
pin_file         serving.toml
quarantine       versions that crashed the server
contents         what an uploaded version may hold
staging          the hidden folder in which a version is put together
publishing       a new version, from its bytes to its folder
"""
