"""The demo's house and the commands it understands: tables only, no code that runs.

In: nothing. Out: the names of rooms and devices, the skills (which templates of `home-assistant-intents` are
used and what the right answer looks like), and the simplifications of the template language.
Must never know: how sentences are expanded or split, models, training.

An answer is a few plain words, and every value in it is copied letter by letter from the utterance:
`turn on the lights in the kitchen` -> `light on in kitchen`.
"""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = "Home"
"""The system message: one word. Without any, the model's chat template adds a sentence of its own."""


def _values(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


NAMES: dict[str, tuple[str, ...]] = {
    "light": _values("desk lamp, ceiling spots, floor lamp, reading lamp, mirror light, string lights, night light"),
    "switch": _values("coffee maker, heater, humidifier, kettle, christmas tree, air purifier, aquarium pump"),
    "fan": _values("ceiling fan, tower fan, box fan, extractor"),
    "cover": _values("left blind, bay curtain, roller shutter, east awning, skylight shade, patio screen"),
    "lock": _values("front door, back door, side gate, shed door"),
    "scene": _values("movie night, good morning, party time, romance, bedtime, dinner time"),
    "climate": _values("thermostat, heat pump, air conditioner, radiator"),
    "weather": _values("berlin, london, paris, madrid, oslo"),
    "person": _values("anna, tom, maria, peter, lucy"),
    "media_player": _values("tv, sonos, radio, soundbar, speaker, projector"),
    "vacuum": _values("roborock, roomba, hoover bot, dusty"),
    "lawn_mower": _values("husky, robomow, grassy"),
    "todo": _values("chores, packing, party, hardware, garden"),
}
"""Devices by domain. The assistant belongs to one house: names are known, sentences are not."""

LISTS: dict[str, tuple[str, ...]] = {
    "area": _values(
        "kitchen, living room, bedroom, garage, office, hallway, bathroom, dining room, guest room, nursery,"
        "laundry room, study, pantry, garden, porch, library, gym, cellar, playroom, balcony"
    ),
    "floor": _values("first floor, second floor, ground floor, basement, attic, top floor"),
    "search_query": _values("jazz, bohemian rhapsody, the beatles, abba, frozen, mozart, queen, star wars, techno"),
    "timer_name": _values("pizza, egg, tea, laundry, pasta, cake, rice, nap"),
    "shopping_list_item": _values("milk, eggs, bread, apples, butter, rice, coffee, sugar, onions, cheese"),
    "todo_list_item": _values("call mom, buy nails, water plants, sweep floor, pay rent, fix bike"),
    "color": _values("white, red, orange, yellow, green, blue, purple, pink"),
    "brightness_level": _values("maximum, minimum, highest, lowest"),
    "cover_classes": _values("blinds, curtains, shutters, shades, awning, garage door, windows"),
    "cover_states": _values("open, closed"),
    "on_off_states": _values("on, off"),
    "lock_states": _values("locked, unlocked"),
    "fan_mode": _values("auto, low, medium, high"),
    "volume_step": _values("up, down"),
    "media_class": _values("artist, album, song, playlist, podcast"),
    "zone": _values("work, school, home"),
    **{name: tuple(str(n) for n in range(5, 100, 5)) for name in ("brightness", "position", "fan_speed", "volume")},
    "temperature": tuple(str(n) for n in range(15, 28)),
    "timer_minutes": tuple(str(n) for n in (*range(2, 16), 20, 25, 30, 35, 40, 45, 50)),
    "timer_hours": tuple(str(n) for n in range(2, 9)),
}

RULES: dict[str, str] = {
    "temp": "temperature", "all": "all", "everywhere": "(everywhere|in the whole house)", "in": "in",
    "here": "(here|in here|in this room)", "the": "(the|my)", "turn": "(turn|switch)", "is": "(is|are) [the]",
    "numeric_value_set": "(set|change|turn)", "set": "(set|change|make)", "light": "(light|lights)", "any": "any",
    "which": "which", "how_many": "how many", "are_any": "(are|is) any", "close": "(close|shut|lower)",
    "open": "(open|raise)", "what_is": "(what's|what is|tell me)", "how_is": "(how is|how's)",
    "where_is": "(where is|where's)", "media": "(music|song|track|movie)", "track": "(song|track)",
}  # fmt: skip
"""Expansion rules said more simply than in the package: people say "turn on", hardly ever "bring on"."""

REWRITES: tuple[tuple[str, str], ...] = (
    (r"\[([^\]\[]*)\]\s*\{floor\} \[floor\]", r"[\1] {floor}"),
    (r"\{floor\} \[floor\]", "{floor}"),
    (r"\[\(\[ \]%\)\| percent\]", "[%| percent]"),
    (r"\[\(\[ \]°\)\|\( degree\[s\]\)\]", "[ degrees]"),
    (r"\( \|-\)(minute|hour)\[s\]", r" \1s"),
    (r"\[to\] (on|off|out)\b", r"\1"),
    (r"\(music\|\[tv\] show\[s\]\|media \[player\[s\]\]\)", "(music|song|movie)"),
    (r"\[the\|my\] \(music", "[the|my] (music"),
    (r"\(\[the\] \(music\|media \[player\[s\]\]\)\)", "[the] music"),
    (r"fan\[s\]", "(fan|fans)"),
    (r"timer\[s\]", "timer"),
    (r"\{name\} \[list\]", "{name} list"),
    (r"\(check\|complete\|delete\|remove\) (.*) \(off\|from\|on\|in\)", r"(delete|remove) \1 from"),
)
"""Changes to the templates themselves, as regular expressions, for the same reason."""

PLACE = "[in {area}] [in {floor}] [{here}]"


@dataclass(frozen=True, kw_only=True)
class Skill:
    """One thing the house can do: which blocks of templates express it, and its answer's pattern.

    In `answer` a part in brackets is left out when its slot was not spoken; `{here}` stands for the speaker's room.
    """

    intent: str
    answer: str
    combos: tuple[str, ...]
    """The package's `slot_combination` labels."""
    domain: str | None = None
    """The block's fixed domain slot."""
    names: tuple[str, ...] = ()
    """Domains whose devices may fill `{name}`; the block must allow at least one of them."""
    response: str | None = None
    drop: str = ""
    """Templates which match this regular expression are left out."""
    new: bool = False
    """A feature that the house learns later: version 1 never saw it."""
    share: float = 1.0
    """Weight in live traffic."""


def _pair(on: bool, state: str) -> tuple[Skill, ...]:
    intent = "HassTurnOn" if on else "HassTurnOff"
    verbs = ("open", "lock") if on else ("close", "unlock")
    rooms = ("area_domain", "floor_domain", "domain_only")
    plain = r"^\[<the>\] \{name\}$"
    one = ("name_only", "name_area", "name_floor")
    covers = ("area_device_class_cover", "device_class_cover", "floor_device_class_cover")
    return (
        Skill(intent=intent, answer=f"light {state} {PLACE}", combos=rooms, domain="light", share=4),
        Skill(intent=intent, answer=f"fan {state} {PLACE}", combos=rooms, domain="fan"),
        Skill(
            intent=intent,
            answer=f"{state} {{name}} {PLACE}",
            combos=one,
            names=("light", "switch", "fan"),
            response="default",
            drop=plain + r"|<light>",
            share=3,
        ),
        Skill(intent=intent, answer=f"{verbs[0]} {{name}} {PLACE}", combos=one, names=("cover",), share=1),
        Skill(intent=intent, answer=f"{verbs[0]} {{device_class}} {PLACE}", combos=covers, domain="cover", share=2),
        Skill(intent=intent, answer=f"{verbs[1]} {{name}} {PLACE}", combos=one, names=("lock",)),
    )


def _timer(intent: str, verb: str, extra: tuple[str, ...] = ()) -> Skill:
    combos = ("default", "name_only", "area_only", *extra)
    return Skill(intent=intent, answer=f"{verb} timer [{{name}}] [in {{area}}]", combos=combos, new=True)


def _media(intent: str, verb: str, share: float = 1.0) -> Skill:
    combos = ("default", "area_only", "name_only")
    return Skill(
        intent=intent,
        answer=f"{verb} [{{name}}] {PLACE}",
        combos=combos,
        names=("media_player",),
        new=True,
        drop=r"^(pause|stop|unpause|resume)$",
        share=share,
    )


OLD: tuple[Skill, ...] = (
    *_pair(True, "on"),
    *_pair(False, "off"),
    Skill(intent="HassTurnOff", answer="light off everywhere", combos=("domain_all",), domain="light"),
    Skill(
        intent="HassTurnOn",
        answer="scene {name} [in {area}]",
        combos=("name_scene", "name_area_scene"),
        names=("scene",),
        drop=r"^\[<the>\]|^\[activate\]|transition",
    ),
    Skill(
        intent="HassLightSet",
        answer=f"brightness [{{name}}] {PLACE} {{brightness}}",
        names=("light",),
        share=2,
        combos=("area_brightness", "floor_brightness", "name_brightness"),
        drop=r"^\[<numeric_value_set>\] \[<the>\] \{area\} \[to\]",
    ),
    Skill(
        intent="HassLightSet",
        answer=f"color [{{name}}] {PLACE} {{color}}",
        names=("light",),
        share=2,
        combos=("area_color", "floor_color", "name_color"),
    ),
    Skill(
        intent="HassClimateGetTemperature",
        answer=f"temperature [{{name}}] {PLACE}",
        names=("climate",),
        share=2,
        combos=("area_only", "default", "name_only"),
    ),
    Skill(
        intent="HassClimateSetTemperature",
        answer=f"set temperature [{{name}}] {PLACE} {{temperature}}",
        share=2,
        combos=("area_temperature", "floor_temperature", "name_temperature", "temperature_only"),
        names=("climate",),
    ),
    Skill(
        intent="HassFanSetSpeed",
        answer=f"fan speed [{{name}}] {PLACE} {{percentage}}",
        names=("fan",),
        combos=("area_only", "floor_only", "name_only"),
    ),
    Skill(
        intent="HassSetPosition",
        answer=f"position [{{name}}] [{{device_class}}] {PLACE} {{position}}",
        names=("cover",),
        combos=("area_device_class", "name_only", "device_class"),
    ),
    Skill(
        intent="HassGetWeather", answer="weather [{name}]", names=("weather",), combos=("default", "name_only"), share=2
    ),
    *(
        Skill(
            intent="HassGetState",
            answer=f"{verb} light {{state}} {PLACE}",
            domain="light",
            response=response,
            combos=("domain_state", "domain_state_area", "domain_state_floor"),
        )
        for verb, response in (("any", "any"), ("which", "which"), ("count", "how_many"))
    ),
    Skill(
        intent="HassGetState",
        answer="is {name} {state}",
        names=("light", "switch", "fan", "cover", "lock"),
        combos=("name_state",),
        response="one_yesno",
    ),
    Skill(intent="HassGetState", answer="where {name}", names=("person",), combos=("name_where",)),
)
"""What version 1 is trained on: lights, switches, covers, locks, climate, fans, scenes, weather, questions."""

NEW: tuple[Skill, ...] = (
    Skill(
        intent="HassStartTimer",
        answer="timer [{name}] [{minutes} minutes] [{hours} hours]",
        new=True,
        share=4,
        combos=("minutes_only", "name_minutes", "hours_only", "name_hours"),
        drop="timer_half",
    ),
    _timer("HassCancelTimer", "cancel"),
    _timer("HassPauseTimer", "pause"),
    _timer("HassUnpauseTimer", "resume"),
    _timer("HassTimerStatus", "check"),
    _media("HassMediaNext", "next"),
    _media("HassMediaPrevious", "previous"),
    _media("HassMediaPause", "pause", 2),
    _media("HassMediaUnpause", "resume"),
    _media("HassMediaPlayerMute", "mute"),
    Skill(
        intent="HassMediaSearchAndPlay",
        answer="play {search_query} [on {name}] [in {area}]",
        new=True,
        share=2,
        combos=("default", "area_only", "name_only", "name_area"),
        names=("media_player",),
    ),
    Skill(
        intent="HassSetVolume",
        answer=f"volume [{{name}}] {PLACE} {{volume_level}}",
        names=("media_player",),
        drop=r"up\|down",
        new=True,
        combos=("default", "area_only", "name_only"),
        share=2,
    ),
    Skill(
        intent="HassSetVolumeRelative",
        answer=f"volume {{volume_step}} [{{name}}] {PLACE}",
        names=("media_player",),
        combos=("default", "area_only", "name_only"),
        drop="volume_step_",
        new=True,
        share=2,
    ),
    Skill(
        intent="HassVacuumCleanArea",
        answer="vacuum {area} [with {name}]",
        names=("vacuum",),
        new=True,
        combos=("area_only", "name_area"),
        drop="^start",
    ),
    Skill(intent="HassVacuumReturnToBase", answer="dock {name}", names=("vacuum",), combos=("name_only",), new=True),
    Skill(intent="HassShoppingListAddItem", answer="buy {item}", combos=("item_only",), new=True, share=2),
    Skill(intent="HassShoppingListCompleteItem", answer="remove {item}", combos=("item_only",), drop="off;", new=True),
    Skill(
        intent="HassListAddItem", answer="add {item} to {name} list", names=("todo",), combos=("name_item",), new=True
    ),
)
"""What users begin to ask for later: timers, media, volume, the vacuum cleaner, lists."""

SKILLS: tuple[Skill, ...] = OLD + NEW
