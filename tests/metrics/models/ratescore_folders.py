"""Writes random models in RaTEScore's format; runs in the Python that has the package.

    python ratescore_folders.py FOLDER WORD...

FOLDER gets ``ratescore-ner`` (a token classifier) and ``ratescore-synonyms`` (an encoder) with these words.
"""

import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForTokenClassification, BertModel, BertTokenizerFast

KINDS = ("ABNORMALITY", "ANATOMY", "DISEASE", "NON-ABNORMALITY", "NON-DISEASE")
LABELS = ["O", *(f"{place}-{kind}" for kind in KINDS for place in "BI")]


def main(folder: Path, words: list[str]) -> None:
    """Both models, with weights large enough that entities are found."""
    torch.manual_seed(3)
    for name, network in (("ratescore-ner", BertForTokenClassification), ("ratescore-synonyms", BertModel)):
        place = folder / name
        place.mkdir(parents=True)
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (place / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
        BertTokenizerFast(vocab_file=str(place / "vocab.txt")).save_pretrained(place)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            initializer_range=0.7,
            id2label=dict(enumerate(LABELS)),
            label2id={label: number for number, label in enumerate(LABELS)},
        )
        network(config).save_pretrained(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
