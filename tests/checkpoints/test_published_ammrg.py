"""AM-MRG's delta file of stage 2: every name, and the image prefix of the published code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cxreport.checkpoints.name_map import NameMap, load_published, to_published
from cxreport.checkpoints.published.ammrg import POSITION_IDS, stage2_names
from cxreport.errors import UserError
from cxreport.memories.disease_queries import DiseaseQueries, DiseaseQueriesOptions
from cxreport.memories.hopfield import HopfieldMemory, HopfieldOptions

SIZES = DiseaseQueriesOptions(width=24, layers=3, heads=4, feed_forward=36, image_width=28)
MEMORY = HopfieldOptions(width=24, head_width=16, value_width=24, output_width=24, heads=3)
VISION, LANGUAGE = 20, 32


class Parts(nn.Module):
    """What AM-MRG has between its vision encoder and its language model."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = DiseaseQueries(VISION, SIZES)
        self.visual_memory = HopfieldMemory(torch.zeros(21, 24), MEMORY)
        self.report_memory = HopfieldMemory(torch.zeros(17, 24), MEMORY)
        self.memory_projection = nn.Linear(24, VISION)
        self.projection = nn.Linear(VISION, LANGUAGE)
        self.norm = nn.LayerNorm(LANGUAGE)

    def names(self) -> NameMap:
        """The published names, the memories' vectors as they are."""
        banks = {f"own: {part}": f"{part}.patterns" for part in ("visual_memory", "report_memory")}
        return stage2_names(self.queries, self.visual_memory, self.report_memory) | NameMap(banks)


def test_every_name_is_known(shared: Path) -> None:
    """Golden keys, less the language model, the banks and a leftover table, are those of the map."""
    tree = json.loads((shared / "golden" / "prefix_ammrg.json").read_text())
    keys = {key.removeprefix("weights.") for key in tree["tensors"] if key.startswith("weights.")}
    keys = {key for key in keys if not key.startswith("llama_model.") and "lookup_weights" not in key}
    parts = Parts()
    names = stage2_names(parts.queries, parts.visual_memory, parts.report_memory)
    assert names.published == keys - {POSITION_IDS}


def test_the_image_prefix_of_the_published_code(shared: Path) -> None:
    golden = load_file(shared / "golden" / "prefix_ammrg.safetensors")
    weights = {key.removeprefix("weights."): value for key, value in golden.items() if "weights." in key}
    parts = Parts().eval()
    names = parts.names()
    given = {key: weights[key] for key in names.published if key in weights}
    given["own: visual_memory"] = weights["HopfieldLayers.lookup_weights"]
    given["own: report_memory"] = weights["R_HopfieldLayers.lookup_weights"]
    load_published(parts, given, names)
    tokens = (golden["inputs.view0"] + golden["inputs.view1"]) / 2
    with torch.no_grad():
        asked, _ = parts.queries(tokens)
        looked_up = [memory(asked).output for memory in (parts.visual_memory, parts.report_memory)]
        read = [parts.memory_projection(each) for each in (asked, *looked_up)]
        prefix = parts.projection(torch.cat([tokens, *read], dim=1))
    torch.testing.assert_close(prefix, golden["outputs.image_prefix"], atol=1e-4, rtol=1e-4)


def test_there_and_back() -> None:
    """Without golden numbers: what is written under published names is read again, and a hole is told."""
    torch.manual_seed(0)
    first, second = Parts(), Parts()
    for value in first.parameters():
        nn.init.normal_(value)
    weights = to_published(first, first.names())
    load_published(second, weights, second.names())
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    del weights["R_HopfieldLayers.hopfield.association_core.in_proj_bias"]
    with pytest.raises(
        UserError, match=r"missing R_HopfieldLayers\.hopfield\.association_core\.in_proj_bias"
    ):
        load_published(second, weights, second.names())
