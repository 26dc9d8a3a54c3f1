"""Generated tasks: classification, extraction, lookup and copying, each solvable from its own text.

Every function returns one document. A document holds one or more solved examples, so that a model learns to read
the pattern from the text before it: labels listed or only shown, headings and layouts that vary.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from sentences import describe, request, sentence
from values import MAKERS, made_up, noun, person, phrase, value
from vocabulary import RECORDS, REQUESTS, TOPICS, words

TEXT_HEADINGS = ["Text", "Sentence", "Message", "Input", "Comment", "Note", "Line", "Question", "Request", "Passage"]
LABEL_HEADINGS = ["Label", "Topic", "Category", "Class", "Kind", "Answer", "Type", "Tag", "Output", "Group"]


def spell(label: str, style: str) -> str:
    """Return a snake case label in another spelling."""
    parts = label.replace(" ", "_").split("_")
    return {
        "snake": "_".join(parts),
        "camel": "".join(part.title() for part in parts),
        "plain": " ".join(parts),
        "title": " ".join(part.title() for part in parts),
        "upper": "_".join(parts).upper(),
    }[style]


def layout(rng: random.Random, examples: list[tuple[str, str]], labels: list[str], ask: str) -> str:
    """Return solved examples under varying headings, with an instruction and the labels before them or not."""
    text_heading, label_heading = rng.choice(TEXT_HEADINGS), rng.choice(LABEL_HEADINGS)
    between, after = rng.choice([("\n", "\n\n"), ("\n", "\n"), (" ", "\n"), ("\n\n", "\n\n")])
    head = []
    if rng.random() < 0.5:
        head.append(ask)
    if labels and rng.random() < 0.6:
        head.append(rng.choice(["Labels: ", "Choose from: ", "One of: ", "Options: "]) + ", ".join(labels))
    body = [f"{text_heading}: {text}{between}{label_heading}: {label}" for text, label in examples]
    return after.join(head + body)


def classify_topics(rng: random.Random) -> str:
    """Name the topic of a sentence."""
    topics = rng.sample(list(TOPICS), rng.randint(2, 8))
    style = rng.choice(["snake", "title", "upper"])
    chosen = [rng.choice(topics) for _ in range(rng.randint(1, 8))]
    examples = [(sentence(rng, topic), spell(topic, style)) for topic in chosen]
    return layout(rng, examples, [spell(t, style) for t in topics], "Say what the text is about.")


def classify_requests(rng: random.Random) -> str:
    """Name what a person wants."""
    style = rng.choice(["snake", "camel", "plain", "title", "upper"])
    found = [request(rng) for _ in range(rng.randint(1, 8))]
    labels = sorted({intent for _, intent, _ in found})
    others = [intent for intents in REQUESTS.values() for intent in intents if intent not in labels]
    labels = labels + rng.sample(others, rng.randint(1, 5))
    rng.shuffle(labels)
    examples = [(text, spell(intent, style)) for text, intent, _ in found]
    return layout(rng, examples, [spell(label, style) for label in labels], "Say what the person wants.")


def classify_by_example(rng: random.Random) -> str:
    """Give arbitrary labels to topics: only the examples before tell which."""
    topics = rng.sample(list(TOPICS), rng.randint(2, 4))
    names = dict(zip(topics, [made_up(rng) for _ in topics], strict=True))
    examples = [(sentence(rng, topic), names[topic]) for topic in topics * 2 + rng.choices(topics, k=5)]
    return layout(rng, examples, list(names.values()), "Continue the pattern.")


def classify_opinions(rng: random.Random) -> str:
    """Tell praise from blame."""
    good, bad = rng.choice([("positive", "negative"), ("good", "bad"), ("Yes", "No"), ("praise", "blame"), ("1", "0")])
    examples = []
    for _ in range(rng.randint(1, 8)):
        happy = rng.random() < 0.5
        view = rng.choice(words.praise if happy else words.blame)
        opener = rng.choice(["The", "This", "My", "Our new", "Their"])
        text = f"{opener} {noun(rng)} is {view}{rng.choice(['.', '!', '', ', ' + rng.choice(words.times) + '.'])}"
        if rng.random() < 0.3:
            text = f"{sentence(rng)} {text}"
        examples.append((text, good if happy else bad))
    return layout(rng, examples, [good, bad], f"Is the opinion {good} or {bad}?")


def compare_sentences(rng: random.Random) -> str:
    """Say whether two sentences are about the same topic."""
    examples = []
    for _ in range(rng.randint(2, 6)):
        first, second = rng.sample(list(TOPICS), 2)
        same = rng.random() < 0.5
        pair = f"{sentence(rng, first)} | {sentence(rng, first if same else second)}"
        examples.append((pair, "same" if same else "different"))
    return layout(rng, examples, ["same", "different"], "Do both sentences have the same topic?")


def written(record: dict[str, str | int], style: str) -> str:
    """Return a record in one of four notations."""
    if style == "json":
        return json.dumps(record, ensure_ascii=False)
    if style == "indented":
        return json.dumps(record, ensure_ascii=False, indent=2)
    if style == "yaml":
        return "\n".join(f"{key}: {cell}" for key, cell in record.items())
    return ", ".join(str(cell) for cell in record.values())


def extract_records(rng: random.Random) -> str:
    """Read the record that a text describes, keys that the text is silent about left out."""
    kind = rng.choice(list(RECORDS))
    keys = list(RECORDS[kind])
    rng.shuffle(keys)
    style = rng.choice(["json", "json", "json", "indented", "yaml", "csv"])
    text_heading = rng.choice(TEXT_HEADINGS)
    answer_heading = rng.choice(["JSON", "Record", "Answer", "Output", "Facts"]) if style == "json" else "Record"
    head = [f"Write what the text says about the {kind} as {style}."] if rng.random() < 0.5 else []
    if rng.random() < 0.5:
        head.append(f"Keys: {', '.join(keys)}")
    blocks = ["\n".join(head)] if head else []
    for _ in range(rng.randint(1, 4)):
        chosen = set(rng.sample(keys, rng.randint(2, len(keys))))
        text, record = describe(rng, kind, [key for key in keys if key in chosen])
        blocks.append(f"{text_heading}: {text}\n{answer_heading}: {written(record, style)}")
    return "\n\n".join(blocks)


def extract_slots(rng: random.Random) -> str:
    """Read the slots of a request."""
    blocks: list[str] = []
    with_intent = rng.random() < 0.4
    while len(blocks) < rng.randint(1, 4):
        text, intent, slots = request(rng)
        if slots:
            record: dict[str, str | int] = {"intent": intent, **slots} if with_intent else slots
            blocks.append(f"Request: {text}\nJSON: {json.dumps(record, ensure_ascii=False)}")
    return "\n\n".join(blocks)


def look_up(rng: random.Random) -> str:
    """Find the value of a key in a table of pairs."""
    kinds = rng.choices([*MAKERS, "city", "colour", "job"], k=2)
    pairs = {str(value(kinds[0], rng)): value(kinds[1], rng) for _ in range(rng.randint(3, 10))}
    style = rng.choice(["lines", "json", "table", "arrows"])
    if style == "json":
        head = json.dumps(pairs, ensure_ascii=False)
    elif style == "table":
        head = "| key | value |\n|---|---|\n" + "\n".join(f"| {key} | {cell} |" for key, cell in pairs.items())
    else:
        mark = ": " if style == "lines" else " -> "
        head = "\n".join(f"{key}{mark}{cell}" for key, cell in pairs.items())
    asked = rng.sample(list(pairs), rng.randint(1, len(pairs)))
    question = rng.choice(["What belongs to {}?", "Value of {}:", "{} =", "Look up {}:", 'd["{}"] =='])
    return head + "\n\n" + "\n".join(f"{question.format(key)} {pairs[key]}" for key in asked)


def copy_text(rng: random.Random) -> str:
    """Repeat a text, or the part of it that is asked for."""
    kinds = rng.choices([*MAKERS, "city"], k=rng.randint(2, 7))
    items = [str(value(kind, rng)) for kind in kinds]
    text = sentence(rng) if rng.random() < 0.4 else rng.choice([" ", ", ", " | ", "; "]).join(items)
    parts = text.split(" ")
    which = rng.randrange(len(parts) - 1) if len(parts) > 1 else 0
    after = f"The word after {parts[which]!r} is {parts[min(which + 1, len(parts) - 1)]!r}."
    return rng.choice(
        [
            f"Repeat: {text}\n{text}",
            f"Text: {text}\nCopy: {text}\nCopy: {text}",
            f"echo {json.dumps(text, ensure_ascii=False)}\n{text}",
            f"{text}\nFirst word: {parts[0]}\nLast word: {parts[-1]}",
            f"{text}\n{after}",
            f"Items: {', '.join(items)}\nList: {json.dumps(items, ensure_ascii=False)}",
            f"List: {json.dumps(items, ensure_ascii=False)}\nLength: {len(items)}\nLast: {items[-1]}",
            f"Words: {text}\nUpper: {text.upper()}\nLower: {text.lower()}",
        ]
    )


def find_in_story(rng: random.Random) -> str:
    """Answer questions about who did what where, from a few sentences."""
    names = rng.sample(words.first_names, rng.randint(2, 5))
    facts = [(name, rng.choice(words.verbs), phrase(rng), str(value("city", rng))) for name in names]
    story = " ".join(f"{name} {verb} {thing} in {city}." for name, verb, thing, city in facts)
    questions = []
    for name, verb, thing, city in rng.sample(facts, len(facts)):
        questions.append(
            rng.choice(
                [
                    f"Who {verb} {thing}? {name}",
                    f"Where was {name}? {city}",
                    f"What was it that {name} {verb}? {thing}",
                    f"Who was in {city}? {name}",
                ]
            )
        )
    return story + "\n" + "\n".join(questions)


def find_names(rng: random.Random) -> str:
    """List the people and the places of a text."""
    people = [person(rng) for _ in range(rng.randint(0, 3))]
    places = [str(value("city", rng)) for _ in range(rng.randint(0, 3))]
    parts = [f"{name} {rng.choice(words.verbs)} {phrase(rng)}." for name in people]
    parts += [f"It was {rng.choice(words.adjectives)} in {place}." for place in places]
    parts += [sentence(rng, noun_topic) for noun_topic in rng.sample(list(TOPICS), rng.randint(0, 2))]
    text = " ".join(parts) or f"Nobody {rng.choice(words.verbs)} {phrase(rng)} {noun(rng)}."
    return f"Text: {text}\nPeople: {', '.join(people) or 'none'}\nPlaces: {', '.join(places) or 'none'}"


def order_words(rng: random.Random) -> str:
    """Sort words, or the numbers of a list."""
    if rng.random() < 0.5:
        items = [noun(rng) for _ in range(rng.randint(3, 7))]
        return f"Words: {', '.join(items)}\nSorted: {', '.join(sorted(items))}"
    numbers = [rng.randint(0, 99) for _ in range(rng.randint(3, 7))]
    return f"Numbers: {numbers}\nSorted: {sorted(numbers)}\nLargest: {max(numbers)}\nSmallest: {min(numbers)}"


def tell(rng: random.Random) -> str:
    """Put sentences of one topic after another."""
    topic = rng.choice(list(TOPICS))
    return " ".join(sentence(rng, topic) for _ in range(rng.randint(2, 8)))


TASKS: dict[Callable[[random.Random], str], int] = {  # how often each is drawn
    classify_topics: 14,
    classify_requests: 18,
    classify_by_example: 8,
    classify_opinions: 6,
    compare_sentences: 4,
    extract_records: 20,
    extract_slots: 10,
    look_up: 10,
    copy_text: 10,
    find_in_story: 8,
    find_names: 4,
    order_words: 2,
    tell: 4,
}


def task(rng: random.Random) -> str:
    """Return a document of a random task."""
    return rng.choices(list(TASKS), weights=list(TASKS.values()))[0](rng)
