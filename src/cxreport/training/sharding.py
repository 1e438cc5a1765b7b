"""Fully sharded training (FSDP2): every device holds a part of each block's weights and optimiser state.

Lightning's strategy for PyTorch's ``fully_shard`` does the work. What a run saves is whole, from the first
process, and of the same format as on one device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    OptimStateKeyType,
    fully_shard,
    register_fsdp_forward_method,
)

from cxreport.training.activations import blocks_of

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Sharded(ModelParallelStrategy):
    """Lightning's strategy with all devices sharing the data, and states that are files without pickle."""

    def __init__(self, devices: int) -> None:
        super().__init__(
            data_parallel_size=devices, tensor_parallel_size=1, save_distributed_checkpoint=False
        )

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the whole state in every process, and take each one's part of it."""
        assert self.model is not None
        state = self.checkpoint_io.load_checkpoint(checkpoint_path)
        set_model_state_dict(self.model, state["state_dict"], options=_WHOLE)
        for optimizer, saved in zip(self.optimizers, state["optimizer_states"], strict=True):
            named = FullyShardedDataParallel.rekey_optim_state_dict(
                saved, OptimStateKeyType.PARAM_NAME, self.model
            )
            set_optimizer_state_dict(self.model, optimizer, named, options=_WHOLE)
        return state


def shard(system: nn.Module, mesh: DeviceMesh) -> None:
    """Shard every block of `system` over `mesh`, then what is left; ``loss`` gathers what it reads."""
    for block in blocks_of(system):
        fully_shard(block, mesh=mesh)
    fully_shard(system, mesh=mesh)
    register_fsdp_forward_method(system, "loss")


def whole_weights(system: nn.Module) -> dict[str, torch.Tensor]:
    """The whole state of a sharded `system` on the CPU of the first process; all have to call it."""
    return cast("dict[str, torch.Tensor]", get_model_state_dict(system, options=_WHOLE))
