"""The models folder on disk: reading and writing.

root             the folder of all models
listing          the entries of a folder, for ``core.layout``
folder           one model's folder: versions, settings, problems
digests          digests of files, to notice changes
hub_json         JSON files of a Hugging Face repository
class_names      names of classes in a config.json of Hugging Face
access           missing permissions, and how to fix them
golden           the golden set
language_golden  the golden set of a language model
npz              arrays of .npz and .npy files, within a memory limit
pin_file         serving.toml
quarantine       versions that crashed the server
contents         the files that an uploaded version may have
staging          the hidden folder in which a version is assembled
publishing       a new version, from its bytes to its folder
"""
