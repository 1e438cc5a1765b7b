"""English words that decide what a sentence says of a finding, and where their reach ends."""

from __future__ import annotations

_SEEN = (
    "(seen|identified|noted|visualized|visualised|detected|demonstrated|appreciated|observed|evident|"
    "present|apparent|visible|found|recognized|recognizable|identifiable|detectable|appreciable|"
    "discernible|perceptible|shown|suggested|depicted|delineated|discerned)"
)
_EXAM = "(study|exam|examination|radiograph|film|ct|image|imaging|x ray|xray|chest|report|scan)"

CUES: dict[str, tuple[str, ...]] = {
    "no": (
        "(no|without|w / o|negative for|neg for|absence of|lack of|lacks|lacking|never|nor|neither|"
        "devoid of|denies|nothing)",
        "nothing to (suggest|indicate)",
        "nor (is|are|was|were) there",
        "no [definite|definitive|convincing|clear|radiographic|x ray|plain film|radiological|obvious|"
        "significant|sonographic|strong|compelling|conclusive|current|visible|acute|overt|direct|residual|"
        "new|further|discrete|other] (evidence|sign|indication|suggestion|suspicion|finding|feature|"
        "radiographic evidence|appearance) [of|for|to suggest|suggesting|suggestive of|to "
        "indicate|suspicious for|concerning for|diagnostic of|typical of]",
        "(without|not) [definite|any|convincing|radiographic|obvious] (evidence|sign|suggestion) of",
        "(cannot|can not|unable to|do not|not) (see|detect|discern|appreciate)",
        "(free|clear|cleared) (of|from)",
        "(fail|failed|fails|failure) to (show|demonstrate|reveal|identify)",
        "(did|does|do) not (show|demonstrate|reveal|identify|see|have|contain|suggest|support|represent|"
        "indicate)",
        "not (show|demonstrate|reveal|identify|see|have|contain|suggest|support|represent)",
        "(rather than|instead of|as opposed to)",
        "(argue|argues|arguing) against",
        "(ruled|ruling) out",
        "(excludes|excluding|mimics|mimicking|simulates|simulating)",
        "not (associated|compatible|consistent) with",
        "not (suspicious|concerning|suggestive|worrisome|indicative) (for|of)",
        "not due to",
        "no (acute|definite|focal|significant)",
    ),
    "not": ("(not|isn t|aren t|nonspecific for)",),
    "no_that": ("no evidence that", "no (sign|indication|suggestion) that"),
    "gone": (
        "(resolution|clearing|disappearance|clearance|evacuation|removal) of",
        "status post removal of",
    ),
    "gone_after": (
        "[has|have|had|now|completely|fully] [completely|fully|entirely|since|now|also|subsequently] "
        "(resolved|cleared|disappeared|vanished)",
        "[was|were|is|are] (removal|removed|discontinued|withdrawn|explanted)",
    ),
    "absent_after": (
        f"(not|no longer|never) [definitely|clearly] {_SEEN}",
        f"(cannot|can not|could not|neither) {_SEEN}",
        "not (recurred|reaccumulated|returned|developed)",
        "(absent|none|nil)",
        "(negative|neg)",
        "(ruled out|excluded)",
        "(is not|are not) there",
        "no more",
    ),
    "doubt": (
        "(may|might|could|can|would|possibly|perhaps|maybe|potentially|presumably|probably) "
        "[also|well|simply|either|all] [represent|reflect|indicate|include|due to|related to|secondary to|"
        "consistent with|compatible with|from|suggest|relate to|represents|reflects|representing|"
        "reflecting|correspond to|have|mean|signify|a|the result of|partially]",
        "does not [entirely|completely|totally] (exclude|rule out)",
        "not exclude [the] [possibility|presence] [of]",
        "[to|and] (exclude|r / o)",
        "[to] rule out",
        "(uncertain|unclear|unsure) (whether|if) [there] [is] [a]",
        "(suspicious|worrisome|concerning|suspicion|concern|concerns|question|questionable|suggestion|"
        "possibility|suspicions|probability|likelihood|questioned) (for|of)",
        "(suggest|suggests|suggesting|suggestive|suggested) [of] [the] [presence|possibility] [of]",
        "suggestive (for|of)",
        "(differential|ddx) [diagnosis|diagnoses|considerations|consideration] [possibilities] "
        "(include|includes|is|of|would include|including|for|are)",
        "differential considerations",
        "(favor|favors|favoring|favour) [to] [represent|reflect]",
        "favored to (represent|reflect)",
        "(raise|raises|raising) [the] (question|possibility|concern|suspicion) (of|for)",
        "correlate [clinically] (for|with)",
        "clinical correlation for",
        "(consider|question|query)",
        "equivocal [for]",
        "indeterminate for",
        "(at risk for|vague suggestion of|hint of)",
        "if any concern [for]",
        "if there is [clinical] (concern|suspicion) (for|of)",
        "unlikely to (represent|reflect)",
        "appearance of possible",
    ),
    "query": ("?", "+/-"),
    "doubtful": (
        "(cannot|can not|could not|unable to|difficult to|hard to|impossible to|not possible to|not) "
        "[entirely|completely|totally|fully|reliably|confidently|definitively] (exclude|rule out)",
        "(not likely|doubt|doubtful|favored|not favored)",
        "(possible|probable|questionable|suspected|suspect|presumed|potential|conceivable|equivocal|"
        "unlikely)",
        "less likely",
    ),
    "suspicious": ("suspicious",),
    "doubt_after": (
        "in the differential [diagnosis]",
        "(another|a further|one|an additional) (consideration|possibility)",
        "(must|should|need to|needs to) (excluded|ruled out)",
        "if (any|present|real)",
        "[is|are] (cannot|can not|could not|not|difficult to|hard to|impossible to|not possible to) "
        "[entirely|completely|totally|fully|reliably|confidently|definitively] (excluded|ruled out)",
        "(is|are|was|were|remains) [a|also] [diagnostic] (consideration|possibility|concern|question|"
        "considered)",
        "(should|may|could|might|can|would) considered",
        "considered",
        "in [the] [proper|appropriate|correct|right] clinical (setting|context|scenario)",
        "(may|might|could) [also] (present|have this appearance|give this appearance|responsible|seen|"
        "contributing|contribute)",
        "(not|cannot|can not|difficult to|poorly|incompletely|suboptimally|limited|inadequately) "
        "[well|fully|adequately|accurately|clearly|reliably|completely] "
        "(evaluated|assessed|visualized|evaluate|assess|characterized|imaged)",
        "not (clearly|well|fully|adequately|optimally) [seen|visualized|demonstrated|defined]",
        "(in question|is questioned|versus artifact)",
    ),
    "versus": ("(versus|vs|favored over)",),
    "history": (
        "[no|known|prior|past|remote|clinical|previous|recent|surgical|medical|family] [known] "
        "(history|hx) (of|significant for)",
        "h / o",
        "(evaluate|assess|eval|evaluation|assessment|check|look|looking|exam|examination|monitor|screening|"
        "surveillance|workup|work up|query|investigate) (for|of)",
        "to evaluate [for]",
        "(follow up|followup|f / u) (of|for)",
        "(symptom|clinical sign|diagnosis|diagnosed|treatment|treated|therapy|admitted|admission|"
        "presenting) (of|with|for)",
        "(recent|prior|previous) (episode|diagnosis|bout) of",
        f"[compared to|when compared with|on|the] (prior|previous|earlier|outside) {_EXAM} "
        "(showed|demonstrated|showing|demonstrating|revealed|described)",
        "(year old|y o|yo|yr old) [male|female|man|woman|m|f|gentleman|lady|patient] (with|w)",
        "patient (with|has a history of)",
        "(sensitive|sensitivity) (for|in|to) [detecting|detection of]",
        "status post (pneumonia|treatment for|treatment of)",
        "[previously|recently] treated",
        "(resection|excision) of",
    ),
    "asserted": (
        "not (without|free of|devoid of|clear of|only|just|merely|simply)",
        "(no doubt|without doubt|without question|no question|undoubtedly) [that|of|about] [there is]",
        "(no less than|no lack of|no absence of)",
        "(not|cannot|never) (absent|free of)",
        "(not|never) [completely|fully|entirely|yet] (resolved|cleared|removed|disappeared)",
        "(nearly|almost|partially|partly|largely|mostly|incompletely|essentially|near) "
        "[completely|entirely|fully] (resolved|cleared|removed)",
        "(near|nearly|partial|incomplete|slight|some|mild|almost|moderate) [complete|interval|total] "
        "(resolution|clearing|clearance|removal) [of]",
        "not [significantly|substantially|appreciably|markedly|much] "
        "(changed|different|improved|worsened|worse|larger|decreased|progressed|enlarging)",
        "(cannot|can not) (overlooked|ignored)",
    ),
    "neutral": (
        "can (seen|appreciated|identified|noted|found)",
        "(age|chronicity) indeterminate",
        ", but not (diagnostic|specific|definitive|pathognomonic) (of|for) [,]",
        f"(not|not definitely|not clearly) {_SEEN} (on|in) [the|a] "
        "(prior|previous|earlier|old|outside|lateral|frontal)",
        f"not {_SEEN} (previously|before)",
        f"(previously not|not previously) {_SEEN}",
        "(evidence of|consistent with|compatible with|representing|represents|associated with|"
        "in keeping with|indicative of|indicating|diagnostic of|typical of|characteristic of|in "
        "association with|together with|along with|combined with|not change)",
    ),
    "change": (
        "(change|increase|decrease|progression|worsening|improvement|growth|enlargement|difference|"
        "increased|decreased|worsened|progressive|increasing|enlarging|expansion|reduction|deterioration|"
        "reaccumulation)",
        "(interval|significant) change",
    ),
    "former": (
        "(follow up|followup)",
        "(prior|previous|remote) [left|right|bilateral]",
    ),
    "new": ("new", "newly", "(develop|development|developing|superimposed|additional)"),
}
"""What each role does.

Before findings: ``no`` denies a list, ``not`` what stands next, ``no_that`` a clause; ``gone`` says that
it was there, ``doubt`` that it may be, ``history`` that it is not about this exam. After them:
``absent_after`` and ``doubt_after``. On either side: ``gone_after``, ``doubtful``, ``suspicious``, ``query``;
``versus`` doubts both sides. ``asserted`` and ``neutral`` only look like cues, ``change`` takes a denial back
("no change in"), ``new`` keeps it ("no new"), ``former`` makes the next finding history.
"""

LIMITS: dict[str, tuple[str, ...]] = {
    "break": (
        "(but|however|although|though|yet|except|besides|while|whereas|which|who|where|when|there|with|now|"
        "because|after|since|following|despite|nevertheless|nonetheless|otherwise|instead|until|as|then)",
        "(aside from|apart from|other than|due to|secondary to|status post|s / p|in addition|related to|"
        "on the other hand|resulting in|caused by|post op|in setting of|in the setting of|as well as|as "
        "seen|such as|beyond|given)",
    ),
    "verb": (
        "(is|are|was|were|has|have|had|remain|remains|remained|persist|persists|persisted|appear|appears|"
        "appeared|seem|seems|show|shows|demonstrate|demonstrates|reveal|reveals|continue|continues|obscure|"
        "obscures|project|projects|terminate|terminates|overlie|overlies|extend|extends|contain|contains|"
        "measures|measure|ends|lies|exists|exist|:)",
    ),
    "seen": (f"{_SEEN}",),
    "and": ("and", "plus", "/"),
    "or": ("or", "and / or"),
    "comma": (",",),
    "open": ("(",),
    "close": (")",),
    "start": (
        "(mass like|masslike|nodule like|plate like|lead to|end plate|growth plate)",
        "(a|an|the|this|these|it|stable|unchanged|persistent|persisting|improved|improving|interval|again|"
        "chronic|decreasing|resolving|redemonstrated|unremarkable|status|old|multiple|several|few|"
        "scattered|some|overlying)",
    ),
}  # fmt: skip
"""Where the reach of a cue may end. ``start`` words begin a clause of their own after a comma."""

SIDES: dict[str, tuple[str, ...]] = {
    "left": ("(left|lingula|lingular|leftward|lt|l|lll|lul)",),
    "right": ("(right|rt|rightward|r|rll|rml|rul)",),
    "bilateral": (
        "b / l",
        "(bilateral|bilaterally|bibasilar|bibasal|biapical|both|bi basilar|bilat)",
        "(right greater than left|left greater than right|left and right|right and left|"
        "right more than left)",
    ),
}
SEVERITIES: dict[str, tuple[str, ...]] = {
    "mild": (
        "(small|tiny|trace|minimal|minimally|mild|mildly|slight|slightly|minor|subtle|faint|minute|little)",
    ),
    "moderate": ("(moderate|moderately)", "(mild|small) to moderate"),
    "severe": (
        "(severe|severely|massive|marked|markedly|extensive|huge|gross|substantial|sizable)",
        "moderate to (severe|large)",
    ),
}
PRONOUNS = ("(small|smaller|tiny|trace|moderate|large|larger) one",)
"""They stand for the finding before."""
LARGE = ("large", "very large", "large sized", "larger")
"""Severe for a finding, enlarged for a part."""

PRIOR = frozenset(
    (
        "prior", "previous", "previously", "again", "unchanged", "interval", "stable", "comparison",
        "compared", "since", "earlier", "worsening", "worsened", "improved", "improving",
        "improvement", "increased", "decreased", "resolved", "cleared", "persistent", "persists",
        "persisting", "redemonstrated", "longer", "new", "history", "progressed",
        "progression", "removed", "removal", "resolution", "resolving",
    )
)  # fmt: skip
"""Words that compare with an earlier exam, or tell history."""

COMPARED = (frozenset(("change", "changed")), frozenset(("no", "not", "without", "interval", "significant")))
"""A word of both together compares as well ("no change", but not "degenerative change")."""

SKIPPED = frozenset(
    (
        "be", "been", "being", "definitely", "grossly", "currently", "readily", "obviously", "overtly",
        "radiographically", "appreciably", "still", "mostly", "overall", "fairly", "quite", "very",
        "somewhat", "relatively", "basically", "generally", "essentially",
    )
)  # fmt: skip
"""Adverbs and auxiliaries that change nothing."""
