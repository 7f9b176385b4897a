"""The decode as an ONNX graph: the verbs, the functions of our operators, the model.

Imports `compressors` alone.
"""
