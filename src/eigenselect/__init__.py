"""Choose the best compressed form of an embedding table under a byte budget, and ship it as verified ONNX."""
