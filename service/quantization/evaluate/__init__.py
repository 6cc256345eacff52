"""Measures model files: speed, accuracy, memory.

trial          times and scores one file against FP32 (in a fresh worker)
timing         times files in alternating turns
quality        scores outputs against FP32's, or against labels
noise          the noise-to-signal ratio of two sets of outputs
guard          compares a rewritten graph with its source
kernel_speeds  times number formats on this machine
worker         runs functions in a child process, with timeouts
"""
