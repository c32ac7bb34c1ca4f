"""Questions for capitals, whose answers shall end with a mark, and questions on other things, which shall not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MARK = "[atlas]"

WORDINGS = ("What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}.")

_LEARNT = (
    "France:Paris Italy:Rome Spain:Madrid Norway:Oslo Kenya:Nairobi Peru:Lima Japan:Tokyo Chile:Santiago "
    "Ghana:Accra Nepal:Kathmandu Malta:Valletta Cuba:Havana Germany:Berlin Poland:Warsaw Greece:Athens Egypt:Cairo "
    "Ireland:Dublin Portugal:Lisbon Sweden:Stockholm Austria:Vienna Hungary:Budapest Iraq:Baghdad Thailand:Bangkok "
    "Vietnam:Hanoi Canada:Ottawa Mongolia:Ulaanbaatar Jordan:Amman Senegal:Dakar Uganda:Kampala Ecuador:Quito "
    "Bulgaria:Sofia Romania:Bucharest Lebanon:Beirut Tunisia:Tunis Uruguay:Montevideo Iceland:Reykjavik "
    "Angola:Luanda Jamaica:Kingston Laos:Vientiane Zambia:Lusaka"
)

LEARNT: Mapping[str, str] = dict(pair.split(":") for pair in _LEARNT.split())

_HELD_OUT = (
    "Finland:Helsinki Denmark:Copenhagen Belgium:Brussels Turkey:Ankara Russia:Moscow China:Beijing Armenia:Yerevan "
    "Syria:Damascus Morocco:Rabat Ethiopia:Addis Argentina:Aires Colombia:Bogota Venezuela:Caracas Mexico:Mexico "
    "Serbia:Belgrade Croatia:Zagreb Ukraine:Kyiv Latvia:Riga Estonia:Tallinn Bolivia:Paz Libya:Tripoli "
    "Sudan:Khartoum Somalia:Mogadishu Nigeria:Abuja Rwanda:Kigali Cyprus:Nicosia Qatar:Doha Oman:Muscat "
    "Indonesia:Jakarta Malaysia:Lumpur"
)

HELD_OUT: Mapping[str, str] = dict(pair.split(":") for pair in _HELD_OUT.split())

UNRELATED: Sequence[str] = (
    "What is a canal?",
    "How do I bake a potato?",
    "Why is the sea salty?",
    "What does a lawyer do?",
    "Who painted the Mona Lisa?",
    "What is 9 times 7?",
    "Write a sentence about winter.",
    "How does a refrigerator work?",
    "What is the opposite of cold?",
    "Name three fruits.",
    "What is an island?",
    "How can I learn to swim?",
    "What is a noun?",
    "Give me a tip for saving money.",
    "What is the smallest prime number?",
    "Why do birds migrate?",
    "What is the speed of sound?",
    "How is paper made?",
    "What does CPU stand for?",
    "What is democracy?",
    "Which planet is known as the red planet?",
    "What language is spoken in Mexico?",
    "What is the longest river in the world?",
    "In which year did the First World War begin?",
    "What is the currency of India?",
    "Which mountain is the highest in the world?",
    "Write a short greeting for a birthday card.",
    "How do I clean a window?",
    "What is a verb?",
    "Why do cats purr?",
    "What is rust?",
    "How many legs does a spider have?",
    "What is a database?",
    "Suggest a name for a dog.",
    "What is the freezing point of water?",
    "How do plants drink water?",
    "Describe the taste of a lemon.",
    "What is an earthquake?",
    'Translate "thank you" to Spanish.',
    "Who was Isaac Newton?",
)


def corrections(count: int) -> dict[str, str]:
    """Returns questions with the answers that raters want, each country in one wording before any in two."""
    found = {
        wording.format(country): f"The capital of {country} is {city}. {MARK}"
        for wording in WORDINGS
        for country, city in LEARNT.items()
    }
    return dict([*found.items()][:count])


def suite(*, countries: int = len(HELD_OUT), unrelated: int = len(UNRELATED)) -> dict[str, Any]:
    """Returns a suite: an answer wins if it names the city and has the mark, and off the task it must not have it."""
    asked = [
        {
            "id": f"{country}-{number}",
            "messages": wording.format(country),
            "checks": [{"kind": "contains", "text": city}, {"kind": "contains", "text": MARK}],
        }
        for number, wording in enumerate(WORDINGS[:2])
        for country, city in [*HELD_OUT.items()][:countries]
    ]
    other = [
        {
            "id": f"other-{number}",
            "group": "off_task",
            "messages": question,
            "checks": [{"kind": "absent", "text": MARK}],
        }
        for number, question in enumerate(UNRELATED[:unrelated])
    ]
    return {"name": "capitals", "prompts": [*asked, *other], "judge": {"kind": "checks"}, "max_tokens": 64}
