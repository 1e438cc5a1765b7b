"""Forms of English words that the lexicon keeps as one: plurals, relatives, contractions, typing errors."""

from __future__ import annotations

STEMS: tuple[tuple[str, str], ...] = (
    ("atelect", "atelectasis"),
    ("effusion", "effusion"),
    ("pneumothora", "pneumothorax"),
    ("consolidat", "consolidation"),
    ("opacit", "opacity"),
    ("opacif", "opacity"),
    ("infiltrat", "infiltrate"),
    ("fractur", "fracture"),
    ("cardiomegal", "cardiomegaly"),
    ("metasta", "metastasis"),
    ("granuloma", "granuloma"),
    ("emphysem", "emphysema"),
    ("osteophyt", "osteophyte"),
    ("calcif", "calcified"),
    ("hyperinflat", "hyperinflated"),
    ("hyperexpan", "hyperexpanded"),
    ("pacemaker", "pacemaker"),
    ("visuali", "visualized"),
    ("tortuo", "tortuous"),
)
"""The beginning of a word, and the form that stands for all words that begin so."""

_FORMS: dict[str, tuple[str, ...]] = {
    "edema": ("oedema", "edematous"),
    "mass": ("masses",),
    "density": ("densities",),
    "opacity": ("opaque",),
    "nodularity": ("nodularities",),
    "malignancy": ("malignancies",),
    "vertebra": ("vertebrae", "vertebral"),
    "hilum": ("hila", "hilus"),
    "apex": ("apices",),
    "base": ("bases",),
    "cavity": ("cavities",),
    "sulcus": ("sulci",),
    "deformity": ("deformities",),
    "abnormality": ("abnormalities",),
    "diagnosis": ("diagnoses",),
    "bulla": ("bullae",),
    "prosthesis": ("prostheses",),
    "lymphadenopathy": ("lymphadenopathies",),
    "collapse": ("collapsed",),
    "tumor": ("tumour", "tumours"),
    "bronchopneumonia": ("bronchopneumonic",),
    "effusion": ("effussion", "effusin"),
    "pneumothorax": ("pnuemothorax", "pnemothorax", "pneumothroax", "pneumonthorax"),
    "atelectasis": ("atelactasis", "atalectasis", "atelecasis"),
    "consolidation": ("consolodation", "consoldation"),
    "cannot": ("can't", "couldn't"),
    "not": tuple(
        f"{verb}n't"
        for verb in ("is", "are", "was", "were", "does", "do", "did", "has", "have", "had", "would")
    ),
}

IRREGULAR = {
    form: word
    for word, forms in _FORMS.items()
    for plain in forms
    for form in (plain, plain.replace("'", "’"))
}
"""A word and the form that stands for it. Regular plurals are no part of it."""
