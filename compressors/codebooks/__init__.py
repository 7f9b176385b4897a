"""What several methods share: fitting levels and codewords.

Imports `compressors.data` and `compressors.payloads`.
"""
