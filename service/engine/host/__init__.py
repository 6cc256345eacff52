"""The machine's resources that the process uses: memory, cores, the file system.

resources  cores and memory that the process may use, and the memory that it uses
heap       returns the memory of unloaded models to the system
paths      names in the model repository, and links that lead out of it
shared_memory  regions of shared memory that clients have registered
"""
