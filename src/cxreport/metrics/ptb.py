"""Words by the rules of the Penn Treebank, as ``pycocoevalcap`` has them: lower case, no punctuation.

Written to give what Stanford's ``PTBTokenizer`` (CoreNLP 3.4.1, ``-preserveLines -lowerCase``) gives, after
which ``pycocoevalcap`` drops punctuation marks. Like that program it takes the longest token that any rule
allows, and of rules that allow as much the first. Emoticons and letters of scripts beyond Latin, Greek,
Cyrillic and those of East Asia are approximated.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LETTERS = (
    "A-Za-z\u00aa\u00ad\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u037d\u0386\u0388-\u0481\u0483-\u0487"
    "\u048a-\u0527\u0531-\u0556\u0561-\u0587\u0591-\u05bd\u05d0-\u05ea\u0615-\u061a\u0620-\u065e\u066e-\u06d3"
    "\u06d5-\u06ff\u0900-\u0963\u0971-\u09e3\u0e01-\u0e3a\u0e40-\u0e4e\u10a0-\u10ff\u1100-\u11ff\u1d00-\u1dbf"
    "\u1e00-\u1fbc\u2071\u207f\u2090-\u209c\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2139\u213c-\u213f\u2145-\u2149\u214e\u2c60-\u2c7f\u3005\u3006\u3031-\u3035\u3041-\u3096"
    "\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312d\u3131-\u318e\u31a0-\u31ba\u31f0-\u31ff\u3400-\u4db5"
    "\u4e00-\u9fcc\uac00-\ud7a3\uf900-\ufad9\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\uff66-\uffbe"
)
_DIGITS = "0-9\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\uff10-\uff19"
_SYMBOLS = (
    "\u00a1\u00a2\u00a3\u00a4-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bc-\u00bf\u00d7\u00f7\u037e\u0387\u0589"
    "\u060c\u061b\u061e\u061f\u066a\u066d\u06d4\u0964\u0965\u0e3f\u2010\u2011\u2016\u2017\u201a\u201e-\u2023"
    "\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a0\u20a4\u20ac\u2100-\u214f"
    "\u2153-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\uffe0\uffe1\uffe5\uffe6\u0080"
)
_APOSTROPHE = "['\u0092\u2019]"
_QUOTE = "['\u0092\u2019`\u0091\u2018\u201b]"
_BLANK = "[ \u00a0]"
_NOT_LETTER = "(?=[^A-Za-z]|$)"

_ALWAYS = (
    "adj adm adv al ala alex apr ariz assn assoc asst attys? aug ave bancorp bhd blvd brig bros calif cf cie"
    " co?mdr cos? colo? conn corp cpl ct dak dec dept det drs? elec ens esq est etc ext feb fla fri ft ga"
    " gen govs? hon inc ind insp intl invt jan jos jr jul jun kans? ky lieut lt ltd maj mar md messrs minn"
    " mlle mme mon? mont mrs? ms msgr mt natl neb nev nov oct okla penn pfc ph plc pres profs? pvt rd"
    " reps? rev rt sens? sept? seq sfc sgt spc sq sr ste? supts? sys tel tenn thu thurs treas tues? univ v vs"
    " va vt wed wisc? wm wyo"
)
_CAPITALS_ONLY = "ark az del ill la mass miss ore pa tex wash"
_NOT_UPPER = "mfg mtg ptes? pty"
_BEFORE_NUMBERS = "art ca fig nos? op pp prop"


def _in_cases(words: str, *cases: str) -> str:
    """The patterns of `words` in lower, capital or upper case, as one pattern."""
    change = {"lower": str.lower, "capital": str.capitalize, "upper": str.upper}
    return "|".join(change[case](word) for case in cases for word in words.split())


_ABBREVIATION = "|".join(
    (
        _in_cases(_ALWAYS, "lower", "capital", "upper"),
        _in_cases(_CAPITALS_ONLY, "capital", "upper"),
        _in_cases(_NOT_UPPER, "lower", "capital"),
    )
)
_ACRONYM = "[A-Za-z](?:\\.[A-Za-z])*"
_SENTENCE_STARTS = (
    "A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Now|Once"
    "|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)
"""Before these a single letter with a dot ends a sentence."""
_L, _LD = f"[{_LETTERS}]", f"[{_LETTERS}{_DIGITS}]"
_D = f"[{_DIGITS}]"
_NUMBER = f"(?:{_D}*(?:[.:,\u00ad\u066b\u066c]{_D}+)+|{_D}+)"
_ELIDED = f"(?:[dDoOlL]{_QUOTE}{_LD})?"
_FILE_ENDINGS = (
    "bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|html?|h|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar"
    "|txt|wav|xml|x|zip|wm[va]"
)

_RULES = tuple(
    re.compile(rule)
    for rule in (
        "(?:<[!?][A-Za-z-][^>\\r\\n]*>|</?[A-Za-z][A-Za-z0-9:.-]*(?: +[^<>\\r\\n]*)?/?>)",
        f"([Cc]an|CAN)(?:not|NOT){_NOT_LETTER}",
        f"([Gg]on|[Ww]an|[Gg]ot)(?:na|ta){_NOT_LETTER}",
        f"([Gg]im|[Ll]em)me{_NOT_LETTER}",
        f"({_APOSTROPHE}[Tt])(?:is|was){_NOT_LETTER}",
        f"([A-Za-z]*?[A-MO-Za-mo-z])[nN]{_APOSTROPHE}[tT]",
        f"[nN]{_APOSTROPHE}[tT]{_NOT_LETTER}",
        f"{_APOSTROPHE}(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL]){_NOT_LETTER}",
        f"{_L}{_LD}*(?:[.!?]{_L}{_LD}*)*",
        f"{_APOSTROPHE}n(?:{_APOSTROPHE}|{_NOT_LETTER})|[lLdDjJ]{_APOSTROPHE}|{_APOSTROPHE}em(?![A-Za-z])"
        f"|[yY]{_APOSTROPHE}(?=[A-Za-z])|{_APOSTROPHE}[2-9]0s|{_APOSTROPHE}till?(?![A-Za-z])"
        f"|[A-HJ-XZn]{_QUOTE}{_L}{{2,}}|{_L}+[aeiouyAEIOUY]{_QUOTE}[aeiouA-Z]{_L}*"
        f"|{_APOSTROPHE}cause(?![A-Za-z])|c{_APOSTROPHE}mon",
        '(?:https?|ftp)://[^ \\t\\n\\f\\r"<>|(){}]+[^ \\t\\n\\f\\r"\'<>|.!?(){},-]',
        '(?:www\\.(?:[^ \\t\\n\\f\\r"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}'
        "|(?:[^ \\t\\n\\f\\r\"`'<>|.!?(){},_$/-]{1,99}\\.){1,9}(?:com|net|org|edu))"
        '(?:/[^ \\t\\n\\f\\r"<>|(){}]+[^ \\t\\n\\f\\r"\'<>|.!?(){},-])?',
        '[a-zA-Z0-9][^ \\t\\n\\f\\r"<>|(){}\u00a0@]{0,99}@(?:[^ \\t\\n\\f\\r"<>|(){}.\u00a0@]+\\.)*'
        '[^ \\t\\n\\f\\r"<>|(){}.\u00a0@]+',
        "#[A-Za-z]+|@[A-Za-z_][A-Za-z_0-9]*",
        f"{_D}{{1,2}}[-/]{_D}{{1,2}}[-/]{_D}{{2,4}}",
        f"[-+]?{_NUMBER}",
        f"(?:{_D}{{1,4}}[- \u00a0])?{_D}{{1,4}}(?:\\\\?/|\u2044){_D}{{1,4}}",
        f"{_ELIDED}{_LD}+(?:[-_\u058a\u2010\u2011]{_ELIDED}{_LD}+)*",
        "[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+",
        "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",
        f"[A-Za-z0-9][A-Za-z0-9.,\u00ad]{{0,99}}(?:-(?:[A-Za-z0-9\u00ad]+|{_ACRONYM}\\.))+",
        f"{_LD}+(?:[-._/]{_LD}+){{0,9}}\\.(?i:{_FILE_ENDINGS})(?![{_LETTERS}{_DIGITS}])",
        f"(?:{_ABBREVIATION})\\.",
        f"([A-Za-z])\\. +(?:{_SENTENCE_STARTS})(?![A-Za-z])",
        f"(?:{_ACRONYM}|[Pp]h\\.[dD]|[Ee]d\\.[dD]|(?:Canada|Sino|Korean|EU|Japan|non)-U\\.S)\\.",
        f"((?:{_L}{_LD}*(?:[.!?]{_L}{_LD}*)*|{_LD}+(?:-{_LD}+)*)\\.)[,;:]",
        f"((?:{_in_cases(_BEFORE_NUMBERS, 'lower', 'capital', 'upper')})\\.) ?[0-9]",
        f"(?:\\([0-9]{{2,3}}\\){_BLANK}?|(?:\\+\\+?)?(?:[0-9]{{2,4}}[- \u00a0])?[0-9]{{2,4}}[- \u00a0])"
        f"[0-9]{{3,4}}[- \u00a0]?[0-9]{{3,5}}"
        f"|(?:(?:\\+\\+?)?[0-9]{{2,4}}\\.)?[0-9]{{2,4}}\\.[0-9]{{3,4}}\\.[0-9]{{3,5}}",
        "[A-Z]*\\$|#",
        "(?:[cC]\\+\\+|[cC]#)",
        "([<>]?[:;=]['o*^-]?[)(dDpPO\\[\\]@|\\\\{}])(?:[^A-Za-z0-9]|$)",
        "&(?:amp|lt|gt|quot|apos|nbsp|[mn]dash);|&#[0-9]+;",
        "[\u0096\u0097\u2013-\u2015]|-{2,}|\\.\\.\\.+|\\.(?: \\.){2,}|\u2026"
        "|[?!]+|[*]+|_+|#{2,}|@{2,}|<{2,}|>{2,}|''",
        f"[!-/:-@\\[-`{{-~{_SYMBOLS}\u0091-\u0094\u00ab\u00bb\u2018-\u201f\u2039\u203a]",
    )
)
"""Parts that any text could make longer are bounded, so that time grows with the length of a text.

Where a rule has a group, the token is the group and the rest is what must follow it."""

_CROSSES_BLANKS = re.compile(
    r"<|[0-9)][ \u00a0][0-9]|\. \.|\b[A-Za-z]\. +[A-Z]|(?i:art|ca|fig|nos?|op|pp|prop)\. [0-9]"
)
_CHUNKS = re.compile("[^ \\t\\n\\x0b\\f\\r\u00a0\u2000-\u200a\u3000]+")
_CHANGED = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "&amp;": "&",
    "&lt;": "<", "&gt;": ">", "\u00a2": "cents", "\u00a3": "#", "\u0080": "$", "\u00a4": "$", "\u20a0": "$",
    "\u20ac": "$", "\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3",
}  # fmt: skip
_DROPPED = re.compile(
    "['`\"\u0091-\u0094\u00ab\u00bb\u2018\u2019\u201b-\u201d\u2039\u203a,:;.?!-]|&quot;|&apos;|&nbsp;|&[mn]dash;"
    "|''|``|-{2,}|[\u0096\u0097\u2013-\u2015\u2026]|\\.[. ]+\\."
)
_BRACKETS_INSIDE = str.maketrans({"(": "-lrb-", ")": "-rrb-"})


def ptb_words(text: str) -> list[str]:
    """The words of `text`; a token such as ``1 1/2`` keeps its blank, as a no-break space."""
    if _CROSSES_BLANKS.search(text):
        return _tokens(text)
    return [word for chunk in _CHUNKS.findall(text) for word in _chunk_words(chunk)]


@lru_cache(maxsize=1 << 16)
def _chunk_words(chunk: str) -> tuple[str, ...]:
    return tuple(_tokens(chunk))


def _tokens(text: str) -> list[str]:
    tokens = []
    place = 0
    while place < len(text):
        end, reach = place, place
        for rule in _RULES:
            found = rule.match(text, place)
            if found is not None and found.end() > reach:
                reach = found.end()
                end = found.end(1) if rule.groups and found.group(1) is not None else reach
        if end == place:
            place += 1
            continue
        token = text[place:end]
        place = end
        if not _DROPPED.fullmatch(token):
            tokens.append(_written(token))
    return tokens


def _written(token: str) -> str:
    """A token as the program prints it."""
    changed = _CHANGED.get(token)
    if changed is None:
        changed = token.replace("\u00ad", "").replace(" ", "\u00a0") or "-"
        if len(token) > 1 and token[-1] != ">":
            changed = changed.translate(_BRACKETS_INSIDE)
    if token[0] in "nN\u0092\u2019" and len(token) <= 3:
        changed = changed.replace("\u2019", "'").replace("\u0092", "'")
    return changed.lower()
