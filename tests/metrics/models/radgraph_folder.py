"""Writes random weights in RadGraph's published format; runs in the Python that has the package.

    python radgraph_folder.py FOLDER BERT

FOLDER gets ``radgraph-xl`` with configuration, vocabulary and weights; BERT is a folder of a small BERT.
"""

import json
import sys
from pathlib import Path

import radgraph.radgraph as package
import torch

LABELS = [
    "",
    "Anatomy::definitely present",
    "Observation::definitely present",
    "Observation::definitely absent",
]


def main(folder: Path, bert: str) -> None:
    """Build the network with the package itself, then save weights that find something."""
    model = folder / "radgraph-xl"
    vocabulary = model / "vocabulary"
    vocabulary.mkdir(parents=True)
    (vocabulary / "non_padded_namespaces.txt").write_text("*labels\n*tags\n")
    (vocabulary / "radgraph-xl__ner_labels.txt").write_text("\n".join(LABELS) + "\n")
    (vocabulary / "radgraph-xl__relation_labels.txt").write_text("modify\nlocated_at\nsuggestive_of\n")
    reader = {"type": "pretrained_transformer_mismatched", "model_name": bert, "max_length": 32}
    modules = {
        "coref": {"spans_per_word": 0.3, "max_antecedents": 10, "coref_prop": 0},
        "ner": {},
        "relation": {"spans_per_word": 0.5},
        "events": {
            "trigger_spans_per_word": 0.3,
            "argument_spans_per_word": 0.8,
            "loss_weights": {"trigger": 1.0, "arguments": 1.0},
        },
    }
    network = {
        "type": "dygie",
        "embedder": {"token_embedders": {"bert": reader}},
        "modules": modules,
        "feature_size": 4,
        "max_span_width": 4,
        "target_task": "ner",
        "feedforward_params": {"num_layers": 1, "hidden_dims": 8, "dropout": 0.0},
        "loss_weights": {"ner": 1.0, "relation": 1.0, "coref": 0.0, "events": 0.0},
        "initializer": {},
        "module_initializer": {},
    }
    config = {
        "dataset_reader": {"type": "dygie", "max_span_width": 4, "token_indexers": {"bert": reader}},
        "model": network,
    }
    (model / "config.json").write_text(json.dumps(config))
    torch.save({}, model / "weights.th")
    strict = package.dygie.DyGIE.load_state_dict
    package.dygie.DyGIE.load_state_dict = lambda self, state, strict: None
    built = package.RadGraph(model_type="radgraph-xl", model_cache_dir=str(folder), cuda=-1).model
    package.dygie.DyGIE.load_state_dict = strict
    torch.manual_seed(5)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    torch.save(built.state_dict(), model / "weights.th")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
