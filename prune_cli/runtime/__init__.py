"""Sparse layers on a CPU: their parameters are the surviving weights, for training and evaluation."""

from prune_cli.runtime.sparsify import densify, sparse_able, sparse_layers, sparsify

__all__ = ["densify", "sparse_able", "sparse_layers", "sparsify"]
