"""English words for the 14 labels: the findings, the parts of the chest, and what may be said of them.

What counts for a label follows the phrase lists of the CheXpert labeler (Irvin et al., AAAI 2019), wider
where radiologists have more words for the same. For the notation see :mod:`cxreport.metrics.labeler.phrases`.
"""

from __future__ import annotations

from cxreport.metrics.labeler.labels import OTHER

_VESSELS = "(vascular|pulmonary vascular|pulmonary venous|venous|vessel|hilar vascular)"
_INTERSTITIAL = (
    "[lung] (marking|prominence|thickening|pattern|disease|change|lung disease|pneumonitis|coarsening)"
)

NODULAR_OPACITY = (
    "nodular (and|hazy|interstitial|left|right) [hazy|consolidation|linear|interstitial|lung|pulmonary] "
    "opacity"
)
"""Both a lesion and an opacity; "nodular opacity" alone is a lesion."""

FINDINGS: dict[str, tuple[str, ...]] = {
    "Cardiomegaly": (
        "cardiomegaly",
        "(left|right) ventricular enlargement",
        "biventricular enlargement",
        "megalocardia",
        "increased cardiothoracic ratio",
    ),
    "Enlarged Cardiomediastinum": ("mediastinal (mass effect|hematoma)",),
    "Lung Opacity": (
        NODULAR_OPACITY,
        "opacity",
        "(air space|airspace|alveolar|parenchymal lung) (disease|process)",
        "(air space|airspace|alveolar|pulmonary|parenchymal|lung) (density|shadowing|haziness)",
        "(increased|increasing|abnormal|vague|focal|patchy|streaky|hazy|linear|ill defined|basilar|"
        "bibasilar|retrocardiac|linear airspace|band like|bandlike|interstitial|reticular|perihilar|"
        "confluent|asymmetric) density",
        "density in the [left|right] [upper|lower|mid|middle] (lung|lobe|base)",
        "infiltrate",
        f"interstitial {_INTERSTITIAL}",
        "(increased|prominent|coarse|coarsened|accentuated|chronic) [bronchovascular|interstitial|lung] "
        "marking",
        "(reticular|reticulonodular|reticular nodular) [interstitial] "
        "(marking|pattern|change|density|interstitial)",
        "(ggo|reticulation|reticulonodular|ground glass|groundglass|haziness|hazy|haze)",
        "(peribronchial|bronchial wall|peribronchovascular) (thickening|cuffing)",
        "parenchymal scarring",
        "whiteout",
        "white out",
    ),
    "Lung Lesion": (
        NODULAR_OPACITY,
        "nodule",
        "nodularity",
        "(nodular|round|rounded|mass like|masslike) [appearing|like|lung|pulmonary] "
        "(opacity|density|shadow|lesion|focus)",
        "mass",
        "(lung|pulmonary|parenchymal|cavitary|cavitating|nodular|mass like|masslike|lytic lung) lesion",
        "(lung|pulmonary) (cancer|carcinoma|malignancy|tumor|neoplasm|metastasis)",
        "(carcinoma|neoplasm|tumor|tumour|malignancy|metastasis|lump|adenocarcinoma)",
        "[pulmonary] metastatic disease",
        "cavitation",
        "lesion in the [left|right] [upper|lower|middle|mid] (lung|lobe)",
    ),
    "Edema": (
        "edema",
        "[congestive] heart failure",
        "[congestive] cardiac failure",
        "chf",
        "(fluid|volume) overload",
        "kerley [b] line",
        "(septal|kerley) line",
        "decompensated failure",
    ),
    "Consolidation": ("consolidation",),
    "Pneumonia": (
        "(pneumonia|pna)",
        "(bronchopneumonia|pneumonitis)",
        "(infection|infectious|infective|pneumonic)",
        "(infectious|pneumonic|infective) (process|infiltrate|etiology|disease)",
    ),
    "Atelectasis": (
        "atelectasis",
        "collapse",
        "(lung|lobar|lobe) collapse",
        "collapse of the (lung|left|right)",
    ),
    "Pneumothorax": (
        "(hydro|hemo) pneumothorax",
        "(pneumothorax|ptx|hydropneumothorax|hemopneumothorax)",
        "deep sulcus sign",
        "pleural (air|gas) [collection]",
    ),
    "Pleural Effusion": (
        "effusion",
        "[pleural] effusion [fluid]",
        "pleural (fluid|collection|liquid)",
        "pleural or pericardial effusion",
        "(loculated|layering|subpulmonic|fissural) fluid",
        "fluid (in|within|along|tracking along|tracking in|tracking into|extending into) the [left|right] "
        "[major|minor|horizontal|oblique] (fissure|pleural space)",
        "(hydro|hemo) pneumothorax",
        "(hydrothorax|hemothorax|empyema|hydropneumothorax|hemopneumothorax|pyothorax|chylothorax)",
    ),
    "Pleural Other": (
        "(pleural|pleuroparenchymal|pleural parenchymal|pleuropericardial|pleural based) "
        "(thickening|scar|scarring|plaque|calcification|nodularity|fibrosis|disease|reaction|opacity|"
        "abnormality|mass)",
        "calcified pleural plaque",
        "(thickening|scarring|calcification|calcified) (of|along) the [left|right] "
        "[apical|diaphragmatic|lateral] (pleura|pleural margin|pleural surface)",
        "thickened pleura",
        "(apical|biapical) [pleural] (cap|capping|thickening)",
        "fibrothorax",
        "pleural and parenchymal scarring",
    ),
    "Fracture": ("fracture", "fx", "(broken|fractured) rib"),
    "Support Devices": (
        "(tube|catheter|pacemaker|pacer|picc|mediport|portacath|port a cath|permacath|hardware|prosthesis|"
        "stent)",
        "(icd|aicd|defibrillator|defib|device|lead|electrode|drain|pigtail|pleurx|screw|plate|rod|cannula|"
        "coil)",
        "(clip|staple|suture|wire|stimulator|neurostimulator|cerclage|arthroplasty|iabp|lvad|dobhoff|ett|"
        "ngt|ogt)",
        "swan [ganz] [catheter]",
        "(tracheostomy|trach|ventriculoperitoneal shunt|vp shunt|shunt catheter|ecmo)",
        "[support] apparatus",
        "support (device|line|equipment|hardware)",
        "(life|cardiac) support device",
        "(monitoring|monitor|life support) (device|line|lead)",
        "[right|left] [chest|infusion|power|subclavian|jugular|venous access|dual lumen|single lumen] port",
        "port (catheter|tip|reservoir)",
        "balloon pump",
        "(loop|event|cardiac) recorder",
        "(central|venous|central venous|picc|ij|jugular|internal jugular|subclavian|femoral|dialysis|"
        "arterial|hickman|access|infusion|intravenous|iv|swan ganz|pa|pulmonary "
        "artery|sided|midline|cordis) line",
        "(line|distal|chest xxxx|xxxx) tip",
        "xxxx a xxxx",
        "(bone|suture|rotator cuff) anchor",
        "(anchor|occluder|generator)",
        "line (terminate|end|project) ",
        "line and tube",
        "tube and line",
        "line , tube",
        "line or tube",
        "(right|left) [sided] line",
        "(ng|og|et|nasogastric|orogastric|enteric|endotracheal|feeding|chest) tube",
        "(ivc|inferior vena cava) filter",
        "vena cava filter",
        "(prosthetic|mechanical|artificial|bioprosthetic) [heart|aortic|mitral] valve",
        "[aortic|mitral|tricuspid|heart|cardiac] valve (replacement|prosthesis|repair|ring|clip)",
        "(valvuloplasty|tavr|tavi)",
        "fracture [sternal|sternotomy] (wire|lead|catheter|hardware|screw|rod)",
        "annuloplasty [ring]",
        "(spinal|posterior|anterior|internal|orthopedic|surgical) (fixation|fusion hardware|hardware)",
        "(intubated|intubation)",
        "(surgical material|tubing)",
        "(surgical|metallic) (device|anchor|implant)",
        "(suture|embolization) (material|line)",
        "(gastric|lap) band",
        "[implanted] (pump|monitor)",
        "sheath",
        "vagal nerve stimulator",
    ),
    OTHER: (
        "(emphysema|copd|bronchiectasis|fibrosis|scoliosis|kyphosis|kyphoscoliosis|levoscoliosis|"
        "dextroscoliosis|scoliotic|curvature|granuloma|hernia|osteophyte|osteopenia|osteoporosis|"
        "spondylosis|pneumomediastinum|pneumoperitoneum|lymphadenopathy|adenopathy|hyperinflation|"
        "hyperinflated|hyperexpansion|hyperexpanded|hyperaeration|hyperaerated|hyperdistended|"
        "atherosclerosis|atherosclerotic|calcification|calcified|tortuous|tortuosity|ectasia|ectatic|"
        "unfolded|scar|scarring|aneurysm|eventration|hyperlucency|hyperlucent|blebs|bulla|bullous|"
        "dislocation|subluxation|contusion|arthritis|arthropathy|arthritic|bronchitis|asthma|sarcoidosis|"
        "cyst|lucency|dextrocardia|deformity|asbestosis|histoplasmosis|bronchiolitis|pneumatocele|abscess|"
        "goiter|hypoinflation|hypoinflated|aspiration)",
        "degenerative (change|disease|endplate change|joint disease|spurring|osteophyte)",
        "(degenerative|spurring|dish)",
        "(elevated|elevation of the|flattened|flattening of the) [left|right] (hemidiaphragm|diaphragm)",
        "(flattening|elevation) of the [left|right|posterior|bilateral] (hemidiaphragm|diaphragm)",
        "granulomatous (disease|change|process|calcification|infection)",
        "(thyroid|chest wall|breast|axillary|abdominal|renal|adrenal|liver|hepatic|soft tissue) mass",
        "(mass effect|body mass)",
        "(thickening|thickened)",
        "breast (prosthesis|implant)",
        "(vertebra|vertebra body|vertebra bodies|compression|endplate) collapse",
        "collapse of the (vertebra|thoracic vertebra|lumbar vertebra|vertebra body)",
        "volume loss",
        "loss of volume",
        "low lung volume",
        "(pericardial|joint) effusion",
        "pleural or pericardial effusion",
        "(soft tissue|subcutaneous|chest wall|peripheral|bowel wall|leg|ankle|facial|laryngeal|cerebral) "
        "edema",
        "subcutaneous (emphysema|air|gas)",
        "free [intraperitoneal|subdiaphragmatic|peritoneal] (air|gas)",
        "(tracheal|mediastinal) (deviation|shift)",
        "(hilar|aortic|bony|osseous) (enlargement|prominence|destruction)",
        "pulmonary (artery hypertension|arterial hypertension|hypertension)",
        "(foreign body|bullet|shrapnel|pellet)",
        "(wedge|compression|vertebral) deformity",
    ),
}  # fmt: skip
"""Label: the phrases that name it. A phrase under two labels names both."""

TIPS: tuple[str, ...] = (
    "[nasogastric|ng|enteric|endotracheal|et|feeding|chest|picc|central|venous] "
    "(tube|catheter|line|lead|device|wire) tip",
    "tip of the [nasogastric|ng|enteric|endotracheal|et|feeding|chest|picc|central] [venous] "
    "(tube|catheter|line|lead)",
    "(hardware|device|lead|wire|catheter|tube|screw|rod) (complication|failure|malfunction|malposition|"
    "displacement|fracture|discontinuity|migration|kink)",
    "(complication|malposition|displacement|discontinuity|migration) of the "
    "(hardware|device|lead|wire|catheter|tube)",
)
"""A device whose tip is out of sight, or whose failure is denied, is still there."""

EXTUBATION: tuple[str, ...] = ("(extubated|extubation)",)
"""Says that a device is gone."""

CONGESTION: tuple[str, ...] = (
    f"{_VESSELS} (congestion|prominence|engorgement|redistribution|indistinctness|fullness|plethora|"
    "hypertension)",
    "(pulmonary|central|hilar|perihilar) [vascular|venous] (congestion|engorgement)",
    "(prominent|engorged|congested|indistinct|increased) [central] [pulmonary] "
    "(vessel|vasculature|vascularity|vascular marking)",
    "(cephalization|congestion|vascular cephalization)",
    "pulmonary vascular marking (prominence|congestion)",
)
"""Stated plainly they make Edema uncertain, as in the CheXpert labeler."""

BLUNTING: tuple[str, ...] = (
    "(blunting|blunted|obscuration|obliteration|effacement|obscured|blunt) [of] [the] "
    "[left|right|bilateral|lateral|posterior|both] [lateral|posterior] (costophrenic|cp) "
    "[angle|sulcus|recess]",
    "costophrenic (angle|sulcus|recess) (blunting|obscuration)",
)
"""Stated plainly they make Pleural Effusion uncertain, as in the CheXpert labeler."""

PARTS: dict[str, tuple[str, ...]] = {
    "heart": (
        "heart [size|shadow|contour|border|silhouette]",
        "cardiac (size|silhouette|shadow|contour|border|outline|diameter|width|configuration)",
        "size of the (heart|cardiac silhouette)",
        "(cardiac|cardio) pericardial silhouette",
        "cardiopericardial (silhouette|contour)",
        "cardiothoracic ratio",
        "ctr",
        "left ventricle",
    ),
    "mediastinum": (
        "[superior|upper] mediastinum",
        "[superior|upper] mediastinal (contour|silhouette|structure|width|border|size|configuration|shadow|"
        "outline|appearance)",
        "(cardiomediastinal|cardio mediastinal|cardiomediastinum|cardiac mediastinal|heart and mediastinal|"
        "mediastinal and cardiac) [silhouette|contour|structure|border|size|configuration|shadow|outline]",
        "cardiomediastinum",
        "pericardial silhouette",
    ),
    "both": (
        "cardiac and mediastinal (silhouette|contour|structure|border|size|configuration|shadow|outline)",
    ),
    "lung": (
        "[both|left|right] lung [field|parenchyma|zone|base|apex]",
        "remainder of the lung",
        "lung volume",
        "hemithorax",
    ),
    "pleura": ("pleural (space|surface|cavity|recess)", "pleura"),
    "angle": ("(costophrenic|costo phrenic|cp|lateral costophrenic) (angle|sulcus|recess)", "costophrenic"),
    "interstitium": ("[pulmonary|lung] interstitium",),
    "vessels": (
        "[pulmonary] (vasculature|vascularity|vascular marking|vascular pattern|vessel)",
        "pulmonary vascular",
    ),
    "elsewhere": (
        "(aorta|aortic (arch|knob|contour)|hilum|hilar|trachea|thyroid|diaphragm|hemidiaphragm|spine|"
        "vertebra|bone|rib|stomach|abdomen|soft tissue|osseous structure|bony structure|skeletal "
        "structure|pulmonary artery|atrium|lymph node|esophagus|thymus|pericardium|ventricle|fissure|"
        "airway|bony thorax|azygos vein|skeleton)",
        "(chest wall|visualized bone|lung volume|pulmonary (outflow tract|trunk))",
    ),
}
"""Parts of the chest that a state may be said of; of those "elsewhere" no state matters."""

WEAK_PARTS = {"cardiac": "heart", "mediastinal": "mediastinum", "cardiovascular": "heart"}
"""Adjectives that stand for a part only in a list or beside a state ("cardiac enlargement")."""

STATES: dict[str, tuple[str, ...]] = {
    "normal": (
        "normal [size|limit|range|appearance|contour|configuration|caliber]",
        "[within|at] [the] (normal limit|normal range|limit of normal|limit for age)",
        "within normal [limit|range]",
        "unremarkable",
        "not remarkable",
        "normal in (size|appearance|contour|shape)",
        "(wnl|nonenlarged|nondilated)",
        "no abnormality",
    ),
    "clear": (
        "clear",
        "clear and well (expanded|aerated|inflated)",
        "clear bilaterally",
        "well aerated",
        "(sharp|crisp)",
    ),
    "enlarged": (
        "(enlarged|enlargement|widened|widening|dilated|dilation|dilatation|big|globular|cardiomegalic|"
        "generous)",
        "(abnormally|increased in|increase in) (large|size|width)",
        "(increased|abnormal|abnormally increased) (size|width|diameter)",
        "(greater than|more than) (50|half|0 . 5)",
        "abnormally wide",
    ),
    "prominent": ("(prominent|prominence|wide|full|fullness|distended)",),
    "borderline": (
        "[at] [the] (upper|high|top) [limit|limits|side|end|range] [of] [the] normal [limit|range|size]",
        "upper limit of normal [for|in] [size]",
        "[at] upper [normal] limit [of] [normal]",
        "borderline [in] [to] [mildly|slightly|size|large|increased] [enlarged|enlargement|prominent|large]",
        "normal to (borderline|mildly|slightly|top) [mildly] [enlarged|enlargement|prominent|normal]",
        "(borderline|top normal|high normal|upper normal)",
        "(mildly|slightly|minimally) prominent",
    ),
    "blunted": ("(blunted|blunting|obscured|effaced|indistinct|obliterated)",),
    "congested": (
        "(engorged|congested|cephalized|accentuated|indistinct|plethoric|redistributed|ill defined)",
    ),
    "hazy": ("(opacified|consolidated)",),
}
"""What is said of a part."""
