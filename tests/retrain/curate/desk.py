"""A support desk's traffic with planted faults: what curation is measured on.

In: a number of rows, a seed. Out: rows, and which of them are planted. Must never know: how curation works.

Twelve kinds of request, each said in many ways around a product, a time, a place and a mood; one in twenty is vague
and could be two kinds. Planted: wrong labels, near duplicates by another user, three secrets, one loud user.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from retrain.curate.rows import Row

KINDS = {
    "refund": "want my money back|would like a refund|please return the amount I paid|need to be reimbursed",
    "delivery": "has not arrived yet|is still on its way|where is my parcel|tracking has not moved",
    "invoice": "need the invoice again|the bill shows a wrong amount|send me the receipt|our accounting needs a bill",
    "password": "cannot log in|forgot my password|the reset mail never comes|the account is locked",
    "cancel": "want to cancel my subscription|please end my contract|stop renewing my plan|close my membership",
    "upgrade": "would like a bigger plan|switch me to premium|add more seats|what does the larger package cost",
    "defect": "arrived broken|stopped working|makes a strange noise|the screen is cracked",
    "address": "moved to another flat|change the shipping address|my street has a new name|send it to my office",
    "warranty": "is it still under warranty|how long is the guarantee|the guarantee card is lost|warranty claim",
    "privacy": "delete my data|who sees my details|stop sending me newsletters|export everything you know about me",
    "install": "how do I set it up|the installer stops halfway|which driver do I need|the manual is missing",
    "praise": "just wanted to say thanks|your colleague was wonderful|I am very happy with it|great service",
}
VAGUE = "I have a question about this|something is not right|please call me back|can you look into it"
THINGS = [
    "kettle",
    "lamp",
    "router",
    "printer",
    "headset",
    "keyboard",
    "tablet",
    "scooter",
    "mixer",
    "vacuum",
    "camera",
    "monitor",
    "charger",
    "watch",
    "speaker",
    "toaster",
    "drill",
    "sander",
    "heater",
    "fan",
    "projector",
    "microphone",
    "drone",
    "thermostat",
    "doorbell",
    "scale",
    "blender",
    "iron",
    "shaver",
    "radio",
]
COLOURS = ["red", "blue", "black", "white", "silver", "green", "yellow", "grey", "beige", "purple", "orange", "copper"]
WHEN = [
    "last Monday",
    "two weeks ago",
    "in spring",
    "on my birthday",
    "yesterday evening",
    "before the holidays",
    "at the fair",
]
PLACES = [
    "Leeds",
    "Graz",
    "Porto",
    "Turku",
    "Lyon",
    "Ghent",
    "Brno",
    "Cork",
    "Bari",
    "Gdansk",
    "Malmo",
    "Basel",
    "Split",
    "Vigo",
    "Tartu",
    "Bergen",
]
MOODS = [
    "Hello",
    "Good morning",
    "Hi there",
    "To whom it may concern",
    "Dear team",
    "Listen",
    "Sorry to bother you",
    "Hey",
    "Greetings",
    "Once more",
]
ASIDES = [
    "my neighbour has the same one",
    "it was a present for my {who}",
    "I paid by {pay}",
    "the box had number {n}",
    "I already wrote to you on the {n}th",
    "the shop in {place} sent me here",
    "your chat told me to wait {n} days",
    "my {who} uses it every day",
    "we are {n} people in this household",
    "I bought {n} of them",
    "the leaflet is in another language",
    "I am travelling to {place} soon",
    "nobody in {place} could help me",
    "it sits next to the {thing}",
]
WHO = [
    "aunt",
    "brother",
    "colleague",
    "daughter",
    "father",
    "friend",
    "grandmother",
    "husband",
    "landlord",
    "manager",
    "niece",
    "son",
    "wife",
]
PAY = ["card", "transfer", "cash", "voucher", "instalments", "cheque"]
SECRETS = (
    "my card is 4556 7375 8689 9855",
    "the key is sk-proj-9fK2mQ7xLwT4vB8nRzE1yHcU5aJd",
    "write to margit.oberhuber@posteo.at",
)
LOUD = "loud"
USERS = [f"u{number}" for number in range(400)]


@dataclass(kw_only=True)
class Desk:
    """Rows, newest first, and the ids of those that are planted."""

    rows: list[Row] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)
    copies: dict[str, str] = field(default_factory=dict)


def desk(size: int, examined: Callable[[str], bool], *, seed: int = 0, loud: float = 0.4) -> Desk:
    """So many rows: 5 % with a wrong label, 10 % that repeat an examined user's message on the other side.

    `examined` says whether a user falls to the test side; the loud user gives his share of all rows.
    """
    rng = random.Random(seed)
    made = Desk()
    learnt = [user for user in USERS if not examined(user)]
    for number in range(size - size // 10):
        text, kind = _text(rng)
        made.rows.append(_row(f"r{number}", text, kind, LOUD if rng.random() < loud else rng.choice(USERS)))
    plain = len(made.rows)
    twins = [row for row in made.rows if examined(str(row.user))]
    for number in range(size // 10):
        twin, user = rng.choice(twins), LOUD if rng.random() < loud else rng.choice(learnt)
        made.rows.append(_row(f"c{number}", _edited(twin.prompt, rng), twin.answer, user))
        made.copies[f"c{number}"] = twin.id
    for number in rng.sample(range(plain), size // 20):
        row = made.rows[number]
        other = rng.choice([kind for kind in KINDS if kind != row.answer])
        made.rows[number] = replace(row, answer=other)
        made.wrong.add(row.id)
    for number, secret in zip(rng.sample(range(plain), len(SECRETS)), SECRETS, strict=True):
        row = made.rows[number]
        made.rows[number] = _row(row.id, f"{row.prompt}. {secret}", row.answer, str(row.user))
    rng.shuffle(made.rows)
    return made


def _text(rng: random.Random) -> tuple[str, str]:
    kind = rng.choice(list(KINDS))
    core = rng.choice((VAGUE if rng.random() < 0.05 else KINDS[kind]).split("|"))
    words = {"who": rng.choice(WHO), "pay": rng.choice(PAY), "n": rng.randrange(2, 999), "place": rng.choice(PLACES)}
    asides = [a.format(thing=rng.choice(THINGS), **words) for a in rng.sample(ASIDES, rng.randrange(1, 4))]
    about = f"the {rng.choice(COLOURS)} {rng.choice(THINGS)} from {rng.choice(WHEN)}"
    parts = [f"about {about}, {core}" if rng.random() < 0.5 else f"{core}, it is {about}", *asides]
    rng.shuffle(parts)
    return f"{rng.choice(MOODS)}, {'; '.join(parts)}", kind


def _edited(text: str, rng: random.Random) -> str:
    """The same message as somebody else types it: another end, case or a letter lost."""
    place = rng.randrange(len(text) // 2, len(text) - 1)
    return rng.choice([text + " please", text.lower() + "!!", text[:place] + text[place + 1 :], text + ", thanks"])


def _row(row_id: str, text: str, kind: str, user: str) -> Row:
    return Row(
        id=row_id, messages=(("system", "Name the kind of request."), ("user", text)), answer=kind,
        source="labeller", group=f"user:{user}", user=user,
    )  # fmt: skip
