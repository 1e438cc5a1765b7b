"""Pre-training objectives: one file per loss, each a module with ``encoder`` and ``loss(batch)``."""
