"""Where results are kept: MLflow's tracking store and registry, and the output folder.

May import `selector.decision` and `selector.measures`. The only room that imports mlflow.
"""
