"""Decoding of long bodies and encoding of long answers, in a thread or another process.

lanes    the lane for each body size, and the work that runs in it
process  the server's side of the codec process
worker   the codec process
jobs     the functions that the codec process runs
frames   values sent between the two processes
"""
