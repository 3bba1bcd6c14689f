"""From what a captioner says to what a picture shows: the content alone, as a prompt for a generator.

The rules follow the intent of MAI's "content-only-v1" (https://github.com/athen-lab/mai): a prompt that speaks of
photographs, cameras or quality would make its generator imitate those words, and one that says "AI-generated" more so.
"""

from __future__ import annotations

import re

from maibench.errors import ImageError

POLICY = "content-1"
"""Raise it when the same caption makes another prompt."""

_MEDIUM = r"(?:photo(?:graph)?|image|picture|pic|snapshot|shot|scene|view|close[- ]?up|selfie|photography)"
_LOOKS = (
    r"(?:ai[- ]generated|computer[- ]generated|digitally (?:created|generated|rendered)|synthetic|generated|"
    r"hyper-?realistic|photo-?realistic|realistic|high[- ](?:resolution|quality|definition)|"
    r"low[- ](?:resolution|quality)|ultra[- ]?hd|hd|[48]k|blurry|grainy|sharp|crisp|well[- ](?:lit|composed)|stock|"
    r"professional|amateur|candid|"
    r"cinematic|award[- ]winning|beautiful|stunning|striking|captivating|breathtaking|gorgeous|vintage|colou?r|"
    r"black[- ]and[- ]white|close[- ]?up|wide[- ]angle|aerial|detailed|vivid|dramatic)"
)
_NOUN = rf"(?:{_LOOKS},? (?:and )?)*{_MEDIUM}"
_CAPTURES = (
    r"(?:of|showing|shows|depicting|depicts|featuring|features|capturing|captures|presenting|presents|displaying|"
    r"displays|with)"
)

_RULES = [
    # "This is a photo of", "In this blurry image, we see", "The image shows", "A close-up of"
    rf"^(?:here (?:is|we have)|this is|it is|it's|there is) (?:an? |the )?{_NOUN} {_CAPTURES} ",
    rf"^in (?:this|the) {_NOUN},? (?:we (?:can )?see|you (?:can )?see|there (?:is|are)) ",
    rf"^in (?:this|the) {_NOUN},? ",
    rf"^(?:an?|the|this) {_NOUN} (?:that )?{_CAPTURES} ",
    rf"^{_NOUN} {_CAPTURES} ",
    rf"^(?:an? |the |this )?{_NOUN}, ",
    r"^(?:we|you) (?:can )?see ",
    # a whole sentence, or its end, about the picture as a picture
    rf"(?:(?<=[.!?])|^) ?(?:the|this) {_MEDIUM} (?:is|appears|seems|looks|was|has been)(?: to be| to have been)?"
    rf"(?: (?:likely|probably|possibly|very|quite|an?))* (?:{_LOOKS}|taken|captured|shot)\b[^.!?]*[.!?]?",
    r",? (?:taken|captured|photographed) (?:with|by|on|using|from)\b[^.,!?]*",
    r",? in (?:high|low|great|good|poor|sharp) (?:resolution|quality|definition|focus|detail)",
    r",? (?:with|in) (?:a )?(?:shallow|soft) (?:depth of field|focus)",
    r",? (?:with )?(?:an? )?(?:\d+ ?mm|f/\d(?:\.\d)?|dslr|bokeh|telephoto|macro|fisheye) ?(?:lens|camera|effect)?\b",
    # hedges and praise
    r"\b(?:likely|probably|possibly|apparently|presumably) ",
    r"\b(?:appears|seems) to (?:be|show|depict) ",
    r"\b(?:ai[- ]generated|computer[- ]generated|high[- ](?:resolution|quality)|hyper-?realistic|photo-?realistic|"
    r"award[- ]winning|cinematic|stunning|breathtaking|captivating|beautiful|gorgeous|[48]k)\b,? ?",
]
_STOP = """
a about after again all also am an and another any are as at be because been before being both but by can could did do
does doing each either few for from had has have he her here him his how i if in into is it its just like many may me
might more most much must my no none nor not of off on one only or other our out over same she should so some such than
that the their them then there these they this those thing things to too under up upon us very was we were what when
where which who will with would you your
"""
"""Words that show nothing."""
_EMPTY = re.compile(rf"(?:this is |it is )?(?:an?|the|this)?\s*(?:{_NOUN})?", re.IGNORECASE)
_COMPILED = [re.compile(rule, re.IGNORECASE) for rule in _RULES]


def content_of(caption: str) -> str:
    """The content that a caption speaks of: one line that starts with a capital and ends in a full stop.

    What it makes it leaves as it is. Raises ImageError, as this one photograph cannot be used, for a caption that is
    empty, or that has no content beside what is removed.
    """
    if not caption.strip():
        raise ImageError("the captioner said nothing")
    words = "".join(letter if letter.isprintable() else " " for letter in caption).split()
    text, before = " ".join(words), ""
    while text != before:
        before = text
        text = text.strip(" \"'“”‘’`,;:-")
        for rule in _COMPILED:
            text = rule.sub(" " if rule.pattern.startswith(",?") else "", text)
        text = re.sub(r"\s+", " ", text)
        text = re.sub(r" (?=[,.;:!?])", "", text)
        text = re.sub(r"[,;:]+(?=[.,;:!?])", "", text).strip(" .,;:!?-")
    if _EMPTY.fullmatch(text) or set(re.findall(r"\w+", text.casefold())) <= set(_STOP.split()):
        raise ImageError(f"the caption speaks of nothing that can be seen: {caption.strip()[:80]!r}")
    return text[0].upper() + text[1:] + "."
