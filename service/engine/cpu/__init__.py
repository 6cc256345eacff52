"""Choice of the ONNX Runtime kernels that are correct and fast on this CPU.

machine        CPU features, cores, limits, and advice
arm_cores      names of Arm cores
kernels        the choice between default and exact 8-bit kernels
providers      the execution providers of the installed ONNX Runtime
saturation     a trial model that shows whether the default kernels saturate
fusions        fusions that are slower than the operators that they replace
profile        the properties that determine the speed of quantized models on a machine
trial_session  sessions for these trials
"""
