"""Less memory for more time: what blocks keep for the backward pass is computed again."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from cxreport.errors import UserError


def blocks_of(system: nn.Module) -> list[nn.Module]:
    """The blocks that stand in lists of blocks: modules with parts of their own in a ``ModuleList``."""
    lists = [module for module in system.modules() if isinstance(module, nn.ModuleList)]
    return [block for group in lists for block in group if len(list(block.children()))]


def checkpoint_blocks(system: nn.Module) -> None:
    """Checkpoint every block of `system`; UserError where there is none."""
    blocks = blocks_of(system)
    if not blocks:
        raise UserError("training.activation_checkpointing: this model has no list of blocks.")
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
