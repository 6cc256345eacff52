"""What the process has of this machine: memory, cores, the file system.

resources  cores and memory that the process may use, and what it holds
heap       gives the memory of unloaded models back to the system
paths      names in the model repository, and links that lead out of it
shared_memory  regions of shared memory that clients have registered
"""
