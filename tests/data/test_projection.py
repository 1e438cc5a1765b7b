from __future__ import annotations

import pytest

from cxreport.data.projection import projection_of


@pytest.mark.parametrize(
    ("text", "projection"),
    [
        ("PA", "frontal"),
        ("ap", "frontal"),
        ("AP Supine", "frontal"),
        ("Frontal", "frontal"),
        ("view: PA", "frontal"),
        ("L", "lateral"),
        ("LL", "lateral"),
        ("chest_lateral", "lateral"),
        ("postero-anterior", "frontal"),
        ("Antero Posterior", "frontal"),
        ("left anterior oblique", None),
        ("Thorax seitlich", "lateral"),
        ("胸部正位片", "frontal"),
        ("胸部侧位片", "lateral"),
        ("胸部正侧位", None),
        ("PA/LAT", None),
        ("", None),
        ("left hand", None),
        ("paper", None),
    ],
)
def test_projection_of(text, projection):
    assert projection_of(text) == projection
