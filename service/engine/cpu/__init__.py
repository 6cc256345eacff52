"""Which of ONNX Runtime's kernels are right and fast on this CPU.

machine        CPU features, cores, limits, and advice
arm_cores      names of Arm cores
kernels        the rule: default or exact eight-bit kernels
providers      execution providers of the installed ONNX Runtime
saturation     a trial of whether the default kernels saturate
fusions        fusions that are slower than the operators that they replace
profile        what decides the speed of quantized models on a machine
trial_session  sessions for these trials
"""
