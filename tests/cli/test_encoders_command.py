"""``cxreport encoders``: the list is the registry, counted."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.encoders import ENCODERS, build_encoder
from cxreport.encoders.listing import list_encoders
from cxreport.options import EncoderOptions


def test_every_encoder_is_listed_with_its_size_and_source() -> None:
    result = CliRunner().invoke(app, ["encoders", "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["encoders"]
    assert [row["name"] for row in rows] == list(ENCODERS)
    by_name = {row["name"]: row for row in rows}
    assert by_name["vmamba_base"]["tokens"] == {"224": 49, "512": 256, "1280": 1600}
    assert by_name["vit_hd_large"]["tokens"] == {"224": None, "512": 64, "1280": 400}
    assert by_name["vision_mamba_base"]["tokens"]["224"] == 196
    assert round(by_name["resnet101"]["parameters"] / 1e6, 1) == 42.5
    assert all(row["source"] and row["licence"] for row in rows)


def test_the_table_has_a_line_for_every_encoder() -> None:
    result = CliRunner().invoke(app, ["encoders"])
    assert [name for name in ENCODERS if f"  {name} " not in result.stdout] == []
    line = next(line for line in result.stdout.splitlines() if "vit_hd_large" in line)
    assert line.split()[:5] == ["vit_hd_large", "320.4", "-", "64", "400"]


@pytest.mark.parametrize(
    "name", ["resnet_small", "vit_tiny", "vision_mamba_tiny", "vmamba_mini", "swin_mini"]
)
def test_counted_tokens_are_those_that_come_out(name: str) -> None:
    encoder = build_encoder(EncoderOptions(name=name)).eval()
    row = next(row for row in list_encoders() if row["name"] == name)
    with torch.no_grad():
        tokens = encoder(torch.zeros(1, 3, 224, 224))
    assert tokens.patches.shape[1] == row["tokens"]["224"]
    assert row["parameters"] == sum(value.numel() for value in encoder.parameters())


def test_what_an_encoder_costs() -> None:
    result = CliRunner().invoke(app, ["encoders", "--profile", "vit_tiny", "--sizes", "32,64", "--json"])
    assert result.exit_code == 0, result.output
    costs = json.loads(result.stdout)
    assert [(row["size"], row["tokens"]) for row in costs["rows"]] == [(32, 4), (64, 16)]
    assert all(row["seconds"] > 0 and row["memory_bytes"] > 0 for row in costs["rows"])
    table = CliRunner().invoke(app, ["encoders", "--profile", "vit_tiny", "--sizes", "32,64"]).stdout
    assert "vit_tiny: 5.5 M parameters, forward, one image, 1 thread(s)." in table
    assert "Growth exponents in tokens, from 4 tokens on: seconds " in table


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--sizes", "224"], 2, "need --profile"),
        (["--training"], 2, "need --profile"),
        (["--profile", "vit_tiny", "--sizes", "a"], 2, "whole numbers"),
        (["--profile", "vit_tiny", "--sizes", "224"], 1, "at least two image sizes"),
        (["--profile", "vit_tiny", "--sizes", "224,250"], 1, "in multiples of 16 px"),
        (["--profile", "vit_tinny"], 1, "Unknown encoder 'vit_tinny'"),
    ],
)
def test_mistakes_are_sentences(arguments: list[str], status: int, told: str) -> None:
    result = CliRunner().invoke(app, ["encoders", *arguments])
    assert result.exit_code == status
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.output
