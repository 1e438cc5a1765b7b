"""What a classifier found, written out: a fixed sentence for every label, or the grammar of phantoms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from cxreport.data.text import target_text
from cxreport.options import DataOptions
from cxreport.phantom.grammar import Grammar
from cxreport.phantom.language import ENGLISH
from cxreport.phantom.language_zh import CHINESE
from cxreport.study import Finding, Report, SidedKind, sided_kinds

PRESENT = {
    "Enlarged Cardiomediastinum": ("The mediastinum is widened.", "纵隔增宽。"),
    "Cardiomegaly": ("The heart is enlarged.", "心影增大。"),
    "Lung Opacity": ("There is an opacity in the lung.", "肺内见斑片影。"),
    "Lung Lesion": ("There is a lung nodule.", "肺内见结节影。"),
    "Edema": ("There is pulmonary edema.", "可见肺水肿。"),
    "Consolidation": ("There is consolidation.", "肺内见实变影。"),
    "Pneumonia": ("There is pneumonia.", "可见肺炎。"),
    "Atelectasis": ("There is atelectasis.", "可见肺不张。"),
    "Pneumothorax": ("There is a pneumothorax.", "可见气胸。"),
    "Pleural Effusion": ("There is a pleural effusion.", "可见胸腔积液。"),
    "Pleural Other": ("There is pleural thickening.", "可见胸膜增厚。"),
    "Fracture": ("There is a rib fracture.", "可见肋骨骨折。"),
    "Support Devices": ("Support devices are in place.", "可见导管影。"),
}
ABSENT = {
    "Cardiomegaly": ("The heart is normal in size.", "心影大小正常。"),
    "Enlarged Cardiomediastinum": ("The mediastinum is normal.", "纵隔未见增宽。"),
    "Pleural Effusion": ("There is no pleural effusion.", "未见胸腔积液。"),
    "Pneumothorax": ("There is no pneumothorax.", "未见气胸。"),
}
"""Label: its sentence in English and Chinese. What is absent is said where radiologists mostly say it."""
CLEAR = ("The lungs are clear.", "双肺野清晰。")
_IN_THE_LUNGS = ("Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis")


def is_chinese(data: DataOptions) -> bool:
    """Whether reports are Chinese: their cleaner makes words of characters."""
    return data.cleaner == "characters"


def labels_written(present: Collection[str], data: DataOptions) -> str:
    """The 14 labels as a target text: what is `present`, then what is not."""
    place = int(is_chinese(data))
    sentences = [forms[place] for label, forms in PRESENT.items() if label in present]
    sentences += [forms[place] for label, forms in ABSENT.items() if label not in present]
    if not set(_IN_THE_LUNGS) & set(present):
        sentences.append(CLEAR[place])
    return _target("".join(sentences) if place else " ".join(sentences), data)


def typical_findings(studies: Iterable[Iterable[Finding]]) -> dict[SidedKind, Finding]:
    """For every kind and side the zone and severity that it has most often; of as many, the first."""
    counts: dict[SidedKind, Counter[tuple[str | None, str | None]]] = {}
    for findings in studies:
        for finding in findings:
            for pair in sided_kinds([finding]):
                counts.setdefault(pair, Counter())[finding.zone, finding.severity] += 1
    return {
        (kind, side): Finding(kind, side, *count.most_common(1)[0][0])  # type: ignore[arg-type]
        for (kind, side), count in counts.items()
    }


def findings_written(
    present: Iterable[SidedKind],
    typical: Mapping[SidedKind, Finding],
    data: DataOptions,
    rng: np.random.Generator,
) -> str:
    """Kinds and sides as a phantom's target text, each with its `typical` zone and severity."""
    grammar: Grammar = CHINESE if is_chinese(data) else ENGLISH
    report = grammar.write([typical[pair] for pair in present if pair in typical], rng)
    return target_text(report, data)


def _target(text: str, data: DataOptions) -> str:
    section = "impression" if data.section == "impression" else "findings"
    return target_text(Report(**{section: text}), data)
