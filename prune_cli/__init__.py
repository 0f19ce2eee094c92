"""prune-cli: prune pre-trained image models once, before fine-tuning, and compare the methods in tables.

The public API: `prune_cli.scorers`, `prune_cli.masks` and `prune_cli.pipeline`.
"""
