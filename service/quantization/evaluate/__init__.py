"""Measures files: speed, accuracy, memory.

trial          one file timed and scored beside FP32 (in a fresh worker)
timing         files timed in turns
quality        answers scored against FP32's or labels
noise          the noise-to-signal ratio of two sets of answers
guard          a rewritten graph compared with its source
kernel_speeds  number formats timed on this machine
worker         work in a process that may die
"""
