"""Selection of a compressed embedding table under a byte budget, tracked in MLflow."""
