"""Words as METEOR's ``-norm`` has them; the expected words were printed by the Java program."""

from __future__ import annotations

import pytest

from cxreport.metrics.meteor.normalize import ANY, BEFORE_NUMBER, meteor_words

KEEPS_DOT = {"Dr": ANY, "vs": ANY, "No": BEFORE_NUMBER}
WORDS = {
    "The lungs are clear. No effusion.": "the lungs are clear . no effusion .",
    "the lungs are clear. no effusion.": "the lungs are clear. no effusion .",
    "the lungs are clear . no effusion .": "the lungs are clear . no effusion .",
    "Dr. Smith vs. Jones": "dr. smith vs. jones",
    "No. 5 and No. Five": "no. 5 and no . five",
    "e.g. the U.S. border": "eg the us border",
    "1.5 x 2, 1,000 a,b c, d": "1.5 x 2 , 1,000 a , b c , d",
    "heart's can't 'sign' 5's": "heart 's can 't ' sign ' 5 's",
    "well-expanded T11-T12 -- a - b": "well expanded t11 t12 - a - b",
    "(see above) 50% <b> & $5": "( see above ) 50 % < b > & $ 5",
    "wait... and.. more …": "wait ... and .. more …",
    "“quoted” ‘text’ –": "\" quoted \" ' text ' -",
    "no\u00a0break\u3000wide": "no break wide",
    "é Ж 中 😀": "é ж 中 😀",
    "a|||b": "ab",
    " \t\x01 ": "",
    "": "",
}


@pytest.mark.parametrize(("text", "expected"), WORDS.items())
def test_words(text: str, expected: str) -> None:
    assert meteor_words(text, KEEPS_DOT) == expected.split(" ") * bool(expected)
