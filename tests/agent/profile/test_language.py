"""Languages are told by small words, letters and script; too little to tell is unknown."""

# ruff: noqa: RUF001 - letters of other scripts are meant
from __future__ import annotations

import pytest

from agent.profile.language import language

SENTENCES = {
    "en": "Please tell me what you can do for the people who live in this house.",
    "de": "Die Heizung läuft, obwohl das Fenster geöffnet ist und niemand zu Hause ist.",
    "fr": "Le chauffage est allumé dans la cuisine, mais il n'y a pas de lumière pour nous.",
    "es": "No hay luz en la cocina y la puerta del garaje está abierta para todos los coches.",
    "it": "La luce della cucina è accesa, ma non c'è nessuno e il gatto è nel giardino.",
    "nl": "De verwarming staat aan, maar er is niemand in het huis en het raam is niet dicht.",
    "pl": "Ogrzewanie jest włączone, ale nie ma nikogo w domu i okno się nie zamyka.",
    "ru": "Отопление включено, но дома никого нет, и окно не закрыто, что это такое?",
    "uk": "Опалення увімкнено, але вдома нікого немає і вікно не зачинене, що це таке?",
    "el": "Η θέρμανση είναι αναμμένη",
    "ja": "台所の電気をつけてください",
    "zh": "请打开厨房的灯",
    "ko": "부엌 불을 켜 주세요",
    "ar": "هل يمكنك أن تقول لي ما هو هذا في المطبخ من فضلك",
    "th": "เปิดไฟในครัว",
    "he": "תדליק את האור במטבח",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_told(code: str) -> None:
    """A sentence of each language is that language."""
    text = SENTENCES[code].lower()
    assert language(text, text.split()) == code


@pytest.mark.parametrize(
    "text",
    ["", "lamp 7", "turn kitchen lights off", "x = 1; y = [2, 3]", "light_on area=kitchen", "\ud800", "12:30 ?!"],
)
def test_too_little_to_tell_is_unknown(text: str) -> None:
    """Commands, code and numbers are of no language rather than of a wrong one."""
    assert language(text, text.split()) == "unknown"


def test_a_long_text_does_not_overflow_its_votes() -> None:
    """The votes of one language never spill into its neighbour's, however long the text."""
    words = [
        "the",
        "of",
        "and",
        "to",
        "a",
        "in",
        "that",
        "is",
        "was",
        "for",
        "it",
        "with",
        "as",
        "his",
        "on",
        "be",
        "at",
        "by",
        "i",
        "this",
    ] * 5000
    assert language(" ".join(words), words) == "en"
