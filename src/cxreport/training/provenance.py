"""Where a model comes from: versions, commit, seed, data and machine; no names of hosts or folders."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

import cxreport
from cxreport.checkpoints import read_provenance
from cxreport.data.store import PreparedDataset
from cxreport.encoders.folder import origin
from cxreport.recipe import RecipeFile, model_inside
from cxreport.weights.folder import WEIGHTS, digest_of

PACKAGES = (
    "cxreport",
    "torch",
    "torchvision",
    "lightning",
    "transformers",
    "tokenizers",
    "peft",
    "datasets",
    "numpy",
    "safetensors",
    "pydicom",
    "pillow",
)


def facts(recipe: RecipeFile, dataset: dict[str, Any], init: str | None, system: nn.Module) -> dict[str, Any]:
    """Everything about a run that is known before its first step, ready for JSON."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "dataset": dataset,
        "encoder_init": origin(Path(init)) if init else None,
        "start": start_origin(getattr(recipe, "start", None)),
        "parameters": sum(parameter.numel() for parameter in system.parameters()),
        "parameters_trained": sum(part.numel() for part in system.parameters() if part.requires_grad),
        "versions": {"python": platform.python_version(), **versions()},
        "git_commit": git_commit(),
        "machine": machine(),
    }


def start_origin(start: str | None) -> dict[str, Any] | None:
    """What the generator that a run starts from was made from; None without one."""
    if start is None:
        return None
    folder = model_inside(Path(start))
    provenance = read_provenance(folder)
    known = {name: provenance[name] for name in ("recipe", "dataset") if name in provenance}
    return known | {"weights_sha256": digest_of(folder / WEIGHTS)}


def dataset_facts(dataset: PreparedDataset) -> dict[str, str]:
    """What identifies a prepared dataset: its source and its hash, never its path."""
    return {
        "source": str(dataset.info.get("source", "")),
        "source_version": str(dataset.info.get("source_version", "")),
        "sha256": dataset.sha256,
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide what a run computes."""
    installed = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in installed}


def machine() -> dict[str, Any]:
    """Processor, system and accelerator."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, ``+changes`` when it differs from that commit.

    None when the package is installed outside a checkout, or git is absent.
    """
    here = Path(cxreport.__file__).parent
    if _git(here, "ls-files", "--error-unmatch", Path(cxreport.__file__).name) is None:
        return None
    commit = _git(here, "rev-parse", "HEAD")
    changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
