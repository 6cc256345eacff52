"""The models in memory: versions, swap, rollback, drain.

repository       models by name, and the operations on them
model            a model and its versions
version          one version: its state, and its requests while it serves
batchers         creates the batcher of a version
operations       swap, roll back, load, unload, follow the folder
converge         the loop that brings memory in line with the folder
steps            the steps of this loop and of the operations
rollout          one version on its way to READY
report           the phases and checks of a rollout
rollout_options  why a version is put into service, and which checks that waives
context          what a process gives to every rollout
gate             the measurements of the gate
pinning          writes the choice of a version to serving.toml
standing         the versions that a model serves, for a process that starts later
readiness        why the server is not ready
watch            poll mode
"""
