"""Report cleaners of published systems, bit for bit, only to compare with published numbers.

Known faults, kept: ``1.5`` becomes ``15``, ``1. `` goes also inside ``11. ``, slashes glue words, empty
sentences stay, the empty text becomes `` .``. The published cleaners also shorten runs of underscores;
all underscores are deleted afterwards, so that step changes nothing and is not repeated here.
"""

from __future__ import annotations

import re

_BLANK_PASSES = 6
"""Runs of blanks are halved this often: more than 64 in a row leave more than one."""
_DOT_PASSES_IU = 3
_DOT_PASSES_MIMIC = 8
_QUOTES = re.compile(r"[\"/\\']")
_DROPPED_WITH_RANGE = re.compile(r"[.,?;*!%^&_+():-\[\]{}]")
"""The hyphen makes a range by accident: every character from ``:`` to ``[`` goes, the hyphen itself stays."""
_DROPPED = re.compile(r"[.,?;*!%^&_+()\[\]{}]")


def legacy_iu(text: str) -> str:
    """The cleaner of R2Gen for IU X-ray.

    Source: cuhksz-nlp/R2Gen, modules/tokenizers.py, ``clean_report_iu_xray``.
    """
    return _sentences(_without_list_numbers(text, _DOT_PASSES_IU), _DROPPED_WITH_RANGE)


def legacy_mimic(text: str) -> str:
    """The cleaner of R2Gen for MIMIC-CXR: line breaks and doubled blanks become blanks, else as for IU.

    Source: cuhksz-nlp/R2Gen, modules/tokenizers.py, ``clean_report_mimic_cxr``.
    """
    return _sentences(_without_list_numbers(_on_one_line(text), _DOT_PASSES_MIMIC), _DROPPED_WITH_RANGE)


def legacy_r2gengpt(text: str) -> str:
    """The cleaner of R2GenGPT for MIMIC-CXR, which keeps ``<``, ``=``, ``>``, ``@`` and, as `` :``, colons.

    R2GenCSR, CXPMRG-Bench, AM-MRG and EMRRG use it for MIMIC-CXR and CheXpert Plus. Source:
    wang-zhanyu/R2GenGPT, dataset/data_helper.py, ``clean_report``.
    """
    text = _without_list_numbers(_on_one_line(text), _DOT_PASSES_MIMIC)
    return _sentences(text.replace(":", " :"), _DROPPED)


def _on_one_line(text: str) -> str:
    return _halved(text.replace("\n", " "), " ", _BLANK_PASSES)


def _halved(text: str, character: str, passes: int) -> str:
    for _ in range(passes):
        text = text.replace(2 * character, character)
    return text


def _without_list_numbers(text: str, dot_passes: int) -> str:
    text = _halved(text, ".", dot_passes)
    text = text.replace("1. ", "")
    for lead in (". ", " "):
        for number in range(2, 6):
            text = text.replace(f"{lead}{number}. ", ". ")
    return text


def _sentences(text: str, dropped: re.Pattern[str]) -> str:
    sentences = text.strip().lower().split(". ")
    return " . ".join(dropped.sub("", _QUOTES.sub("", s).strip()) for s in sentences) + " ."
