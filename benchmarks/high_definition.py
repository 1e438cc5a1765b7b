"""One step of HD-MAE's pre-training at full size: ViT-L, 1280 px, on a CPU within a few GiB of memory.

    python benchmarks/high_definition.py IMAGES [--strategy box contour] [--batch 2] [--json FILE]

The step is that of ``recipes/pretrain/hdmae.yaml``: forward and backward passes over all images of the folder
in batches whose gradients add up, then AdamW. Every strategy runs in a process of its own, whose peak memory
(resident set, everything included) is what the system counted. Weights and gradients are 32 bit; with
``--bf16`` matrix products are not. Images are read as in a run, one batch at a time. ``--quick`` takes one
batch of a small model, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cxreport.data.batch import StudyImages, collate
from cxreport.data.images import read_image
from cxreport.encoders import build_encoder, sized
from cxreport.objectives import build_objective
from cxreport.pretraining import PretrainRecipe
from cxreport.study import Study
from cxreport.training.activations import checkpoint_blocks
from cxreport.training.optimizers import build_optimizer
from cxreport.training.task import seed_everything

LIMIT_GIB = 8
_SMALL = (
    "encoder.width=64",
    "encoder.depths=[2]",
    "encoder.heads=[2]",
    "objective.decoder_width=64",
    "objective.decoder_depth=1",
    "objective.decoder_heads=2",
)


def one_step(paths: list[Path], strategy: str, batch_size: int, bf16: bool, small: bool) -> dict[str, Any]:
    """A step on the images at `paths`: seconds of its parts, loss, patches kept, peak memory so far."""
    changes = [
        f"objective.strategy={strategy}",
        f"training.batch_size={batch_size}",
        *(_SMALL if small else ()),
    ]
    recipe = PretrainRecipe.load("hdmae", changes)
    seed_everything(recipe.seed)
    encoder = build_encoder(sized(recipe.encoder, recipe.data.image_size))
    objective = build_objective(encoder, recipe.objective)
    checkpoint_blocks(objective)
    optimizer, _ = build_optimizer(objective.parameters(), [], recipe.training, steps_per_epoch=1)
    studies = [Study(path.stem, path.stem, (read_image(path),)) for path in paths]
    images = StudyImages(studies, recipe.data, augment=False, seed=recipe.seed)
    began, loss = time.perf_counter(), 0.0
    for start in range(0, len(paths), batch_size):
        places = range(start, min(start + batch_size, len(paths)))
        batch = collate([images[place] for place in places])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            part = objective.loss(batch)["loss"] * (len(batch) / len(paths))
        part.backward()
        loss += part.item()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), recipe.training.gradient_clip)
    gradients = time.perf_counter()
    optimizer.step()
    ended = time.perf_counter()
    rows, columns = objective.grid
    return {
        "strategy": strategy,
        "parameters": sum(parameter.numel() for parameter in objective.parameters()),
        "images": len(paths),
        "loss": loss,
        "patches_kept": objective.kept,
        "patches": rows * columns,
        **objective.measured(),
        "seconds": ended - began,
        "seconds_of_optimizer": ended - gradients,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Measure each strategy in a process of its own, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument(
        "--strategy", nargs="+", default=["box", "contour"], choices=["random", "box", "contour"]
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    paths = sorted(
        path for path in options.images.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg")
    )
    if not paths:
        raise SystemExit(f"{options.images} holds no PNG or JPEG.")
    paths = paths[: options.batch] if options.quick else paths
    if options.here:
        print(json.dumps(one_step(paths, options.strategy[0], options.batch, options.bf16, options.quick)))
        return
    rows = []
    for strategy in options.strategy:
        given = [sys.executable, __file__, str(options.images), "--strategy", strategy, "--here"]
        given += ["--batch", str(options.batch), *["--bf16"] * options.bf16, *["--quick"] * options.quick]
        done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        contours = row.get("contours")
        print(
            f"{strategy}: {row['parameters'] / 1e6:.1f} M parameters, {row['images']} images, "
            f"{row['patches_kept']} of {row['patches']} patches kept, "
            f"{row['seconds']:.1f} s ({row['seconds_of_optimizer']:.1f} s of them the optimiser), "
            f"peak {row['peak_gib']:.2f} GiB (limit {LIMIT_GIB}), loss {row['loss']:.4f}"
            + (f", {contours['rectangle']} of {contours['images']} with the rectangle" if contours else "")
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if any(row["peak_gib"] > LIMIT_GIB for row in rows):
        raise SystemExit(f"More than {LIMIT_GIB} GiB.")


if __name__ == "__main__":
    main()
