"""Random values by kind: names, numbers, dates, codes, made-up words."""

from __future__ import annotations

import random
import string
import zoneinfo
from collections.abc import Callable
from functools import cache

from vocabulary import TOPICS, words


@cache
def cities() -> list[str]:
    """Return the city names of the time zone database that Python reads."""
    zones = sorted(zoneinfo.available_timezones())
    areas = ("Africa/", "America/", "Asia/", "Australia/", "Europe/", "Pacific/", "Atlantic/")
    return sorted({zone.rsplit("/", 1)[-1].replace("_", " ") for zone in zones if zone.startswith(areas)})


def made_up(rng: random.Random, least: int = 2, most: int = 4) -> str:
    """Return a pronounceable word that no dictionary has, so that copying it cannot be guessing."""
    return "".join(rng.choice(words.syllables) for _ in range(rng.randint(least, most)))


def noun(rng: random.Random, topic: str | None = None) -> str:
    """Return a noun of the topic, or of any."""
    return rng.choice(TOPICS[topic or rng.choice(list(TOPICS))])


def person(rng: random.Random) -> str:
    """Return a first name and a surname, made up one time in three."""
    if rng.random() < 0.33:
        return f"{made_up(rng).title()} {made_up(rng).title()}"
    return f"{rng.choice(words.first_names)} {rng.choice(words.surnames)}"


def proper(rng: random.Random) -> str:
    """Return a proper name of one to three words, such as a ship, a house or a brand has."""
    return rng.choice(
        [
            made_up(rng).title(),
            f"The {rng.choice(words.adjectives).title()} {noun(rng).title()}",
            f"{rng.choice(words.first_names)}'s {noun(rng).title()}",
            f"{made_up(rng).title()} {noun(rng).title()}",
            f"{rng.choice(words.surnames)} & {rng.choice(words.surnames)}",
            f"{rng.choice(words.adjectives).title()} {rng.choice(cities())}",
        ]
    )


def code(rng: random.Random) -> str:
    """Return a code of letters and digits."""
    letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
    digits = "".join(rng.choices(string.digits, k=rng.randint(2, 6)))
    return rng.choice([letters + digits, f"{letters}-{digits}", digits, f"#{digits}", f"{digits}{letters}"])


def date(rng: random.Random) -> str:
    """Return a date in one of four spellings."""
    year, month, day = rng.randint(1950, 2035), rng.randint(1, 12), rng.randint(1, 28)
    name = words.times[6 + month].split()[-1]
    return rng.choice([f"{year}-{month:02}-{day:02}", f"{day} {name} {year}", f"{name} {day}", f"{day}/{month}/{year}"])


def number(rng: random.Random) -> int:
    """Return a whole number, most often a small one."""
    return rng.randint(0, rng.choice([9, 20, 100, 1000, 100_000]))


def price(rng: random.Random) -> str:
    """Return an amount of money."""
    amount = rng.choice([f"{number(rng)}", f"{number(rng)}.{rng.randint(0, 99):02}"])
    return rng.choice([f"${amount}", f"{amount} euros", f"{amount} dollars", f"£{amount}", f"€{amount}"])


def email(rng: random.Random) -> str:
    """Return an address of the reserved domain names."""
    domain = rng.choice(["example.com", "example.org", "mail.example.net"])
    return f"{rng.choice(words.first_names).lower()}{rng.choice(['.', '_', ''])}{made_up(rng)}@{domain}"


def phrase(rng: random.Random) -> str:
    """Return a noun phrase."""
    determiner = rng.choice(["the", "a", "this", "every", "my", "our", "their", "her", "his", "that", "one", "some"])
    adjective = f"{rng.choice(words.adjectives)} " if rng.random() < 0.6 else ""
    return f"{determiner} {adjective}{noun(rng)}"


def value(kind: str, rng: random.Random) -> str | int:
    """Return a value of the kind: a topic gives one of its nouns."""
    if kind in TOPICS:
        return noun(rng, kind)
    if kind in LISTS:
        return rng.choice(LISTS[kind])
    return MAKERS[kind](rng)


LISTS: dict[str, list[str]] = {
    "city": cities(),
    "time": words.times,
    "first_name": words.first_names,
    "surname": words.surnames,
    "adjective": words.adjectives,
    "job": words.jobs,
    "material": words.materials,
    "room": words.rooms,
    "school_subject": words.subjects,
    "format": words.formats,
    "fuel": words.fuels,
    "level": words.levels,
    "colour": words.colours,
}
MAKERS: dict[str, Callable[[random.Random], str | int]] = {
    "thing": noun,
    "person": person,
    "proper": proper,
    "brand": proper,
    "company": proper,
    "code": code,
    "date": date,
    "count": lambda rng: rng.randint(1, rng.choice([9, 30, 99])),
    "number": number,
    "year": lambda rng: rng.randint(1700, 2035),
    "price": price,
    "email": email,
    "clock": lambda rng: rng.choice([f"{rng.randint(0, 23)}:{rng.randint(0, 59):02}", f"{rng.randint(1, 12)} pm"]),
    "street": lambda rng: (
        f"{rng.randint(1, 250)} {rng.choice([made_up(rng).title(), noun(rng).title()])} "
        f"{rng.choice(['Street', 'Road', 'Lane', 'Square', 'Avenue'])}"
    ),
    "weight": lambda rng: f"{number(rng)} {rng.choice(['kg', 'grams', 'pounds', 'tons'])}",
    "length": lambda rng: f"{number(rng)} {rng.choice(['cm', 'metres', 'feet', 'inches'])}",
    "memory": lambda rng: f"{2 ** rng.randint(0, 9)} {rng.choice(['GB', 'MB', 'GiB'])}",
    "host": lambda rng: f"{made_up(rng)}-{rng.randint(1, 99)}.example.{rng.choice(['com', 'org', 'net'])}",
    "made_up": made_up,
}
