"""Random sentences, requests and descriptions of records."""

from __future__ import annotations

import random
import re
from typing import Any

from values import noun, person, value
from vocabulary import RECORDS, REQUESTS, words


def sentence(rng: random.Random, topic: str | None = None) -> str:
    """Return a sentence about things of one topic, or of any."""

    def thing() -> str:
        adjective = f"{rng.choice(words.adjectives)} " if rng.random() < 0.4 else ""
        return f"{rng.choice(['the', 'a', 'the', 'this', 'my', 'our', 'their'])} {adjective}{noun(rng, topic)}"

    verb, adverb, moment = rng.choice(words.verbs), rng.choice(words.adverbs), rng.choice(words.times)
    who = rng.choice([rng.choice(words.first_names), "we", "they", "she", "he", "I", f"the {rng.choice(words.jobs)}"])
    place = rng.choice([f"in {value('city', rng)}", f"{rng.choice(words.prepositions)} {thing()}", moment])
    text = rng.choice(
        [
            f"{who} {verb} {thing()} {place}",
            f"{who} {adverb} {verb} {thing()}",
            f"{thing()} and {thing()} were {verb if verb.endswith('ed') else 'seen'} {moment}",
            f"{moment} {who} {verb} {thing()}",
            f"is {thing()} {rng.choice(words.adjectives)} or {rng.choice(words.adjectives)}?",
            f"why has nobody {verb if verb.endswith('ed') else 'seen'} {thing()} {place}?",
            f"there is {thing()} {rng.choice(words.prepositions)} {thing()}",
            f"{thing()} is {rng.choice(words.adjectives)}, but {thing()} is {rng.choice(words.adjectives)}",
            f"please give {thing()} to {person(rng)} {moment}",
        ]
    )
    if rng.random() < 0.3:
        return text.lower()
    return text[0].upper() + text[1:] + ("" if text.endswith("?") else rng.choice([".", ".", "!", ""]))


def fill(template: str, rng: random.Random) -> tuple[str, dict[str, str | int]]:
    """Return the template with its slots filled, and the slots by name, in the order of the text."""
    slots: dict[str, str | int] = {}

    def replace(match: re.Match[str]) -> str:
        key, kind = match[1], match[2]
        slots[key] = value(kind, rng)
        return str(slots[key])

    text = re.sub(r"\{(\w+):(\w+)\}", replace, template)
    return (text[0].upper() + text[1:] if rng.random() < 0.4 else text), slots


def request(rng: random.Random) -> tuple[str, str, dict[str, str | int]]:
    """Return a request, its intent in snake case, and its slots."""
    intents = REQUESTS[rng.choice(list(REQUESTS))]
    intent = rng.choice(list(intents))
    text, slots = fill(rng.choice(intents[intent]), rng)
    if rng.random() < 0.2:
        text = rng.choice(["hello, ", "hi there, ", "excuse me, ", "good morning, ", "hey, "]) + text
    if rng.random() < 0.15:
        text += rng.choice([" thanks", ", thank you", " asap", " if possible", " for me"])
    return text, intent, slots


def clause(fact: dict[str, Any], rng: random.Random) -> tuple[str, str | int]:
    """Return one fact of a record as a clause, and its value."""
    form = rng.choice(fact["phrasings"])
    if fact["kind"] == "yes_no":
        answer = rng.choice(["yes", "no"])
        return form.split("|")[answer == "no"], answer
    found = value(fact["kind"], rng)
    return form.format(found), found


def describe(rng: random.Random, kind: str, keys: list[str]) -> tuple[str, dict[str, str | int]]:
    """Return a description of a random record, its facts in any order, and the record in the order of ``keys``."""
    facts, record = [], {}
    for key in keys:
        text, record[key] = clause(RECORDS[kind][key], rng)
        facts.append(text)
    rng.shuffle(facts)
    subject = rng.choice([f"The {kind}", f"This {kind}", f"A {kind}", f"Our {kind}", f"One {kind} of the list"])
    sentences = []
    while facts:
        size = rng.randint(1, 3)
        part, facts = facts[:size], facts[size:]
        joined = part[0] if len(part) == 1 else ", ".join(part[:-1]) + " and " + part[-1]
        sentences.append(f"{subject} {joined}.")
        subject = rng.choice(["It", "It also", "Moreover it", f"The same {kind}"])
    return " ".join(sentences), record
