"""Payloads in torch: a module in place of `nn.Embedding`, and its export. The only room of `export` that needs torch.

Imports `export.operators`.
"""
