"""VMamba's state dicts (``MzeroMiko/VMamba``, class ``VSSM``), as R2GenCSR loads them."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.encoders.vmamba import VMamba

OLD_NAMES = {
    "ln_1.": "norm.",
    "self_attention.": "op.",
}
"""Parts of a block's names before and after a renaming in the published code; so is ``norm.`` at the end."""


def vmamba_names(encoder: VMamba) -> NameMap:
    """All of VSSM but its classifier's ``head``."""
    pairs = weight_and_bias("classifier.norm", "norm")
    for place, ours in ((0, "stem.0"), (5, "stem.2")):
        pairs |= _halving(f"patch_embed.{place}", f"patch_embed.{place + 2}", ours)
    for stage, blocks in enumerate(encoder.shape.depths):
        for block in range(blocks):
            pairs |= _block(f"layers.{stage}.blocks.{block}", f"stages.{stage}.{block}")
    for stage in range(len(encoder.halvings)):
        theirs = f"layers.{stage}.downsample"
        pairs |= _halving(f"{theirs}.1", f"{theirs}.3", f"halvings.{stage}")
    return NameMap(pairs)


def _block(theirs: str, ours: str) -> dict[str, str]:
    pairs = weight_and_bias(f"{theirs}.norm", f"{ours}.scan_norm")
    pairs |= weight_and_bias(f"{theirs}.norm2", f"{ours}.mlp_norm")
    pairs |= weight_and_bias(f"{theirs}.mlp.fc1", f"{ours}.mlp.0")
    pairs |= weight_and_bias(f"{theirs}.mlp.fc2", f"{ours}.mlp.2")
    pairs |= weight_and_bias(f"{theirs}.op.out_norm", f"{ours}.scan.norm")
    names = {
        "in_proj.weight": "in_projection.weight",
        "conv2d.weight": "convolution.weight",
        "x_proj_weight": "scan_projection",
        "dt_projs_weight": "step_weight",
        "dt_projs_bias": "step_bias",
        "A_logs": "log_decay",
        "Ds": "skip",
        "out_proj.weight": "out_projection.weight",
    }
    return pairs | {f"{theirs}.op.{key}": f"{ours}.scan.{value}" for key, value in names.items()}


def _halving(convolution: str, norm: str, ours: str) -> dict[str, str]:
    return weight_and_bias(convolution, f"{ours}.convolution") | weight_and_bias(norm, f"{ours}.norm")
