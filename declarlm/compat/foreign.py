"""Configs of other tools: their keys, taken one by one, and what is said of those that have no place here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

INSTRUCTION = (
    "### Instruction:\n{{ instruction }}\n{% if input %}\n### Input:\n{{ input }}\n{% endif %}\n### Response:\n"
)


@dataclass
class Foreign:
    """A config of another tool while it is read.

    Attributes:
        data: Its keys that have not been taken yet.
        notes: What a person should know of what became of it.
        result: The config in Declarlm's words so far.
    """

    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    def take(self, key: str, default: Any = None) -> Any:
        """Return a value and strike it off."""
        value = self.data.pop(key, None)
        return default if value is None else value

    def put(self, path: str, value: Any) -> None:
        """Write a value at a dotted path of the result, unless it is None."""
        if value is None:
            return
        place = self.result
        *parents, last = path.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value

    def move(self, pairs: Mapping[str, str]) -> None:
        """Write values that mean the same here, by the path that they have here."""
        for key, path in pairs.items():
            self.put(path, self.take(key))

    def leave(self, keys: Iterable[str], reason: str) -> None:
        """Strike off keys that have no place here, with the reason, where they ask for anything."""
        for key in keys:
            if self.data.pop(key, None) not in (None, False, "", [], {}):
                self.notes.append(f"{key}: left out, {reason}")

    def leave_rest(self, tool: str) -> None:
        """Name what is left."""
        for key in self.data:
            self.notes.append(f"{key}: left out, a key of {tool} that has no counterpart")

    def note(self, text: str) -> None:
        """Add a sentence."""
        self.notes.append(text)


def text(name: str) -> dict[str, str]:
    """Return a text feature."""
    return {"name": name, "type": "text"}


def conversation(foreign: Foreign, column: str) -> None:
    """Write features of a table of conversations, in which every turn of the assistant is learned."""
    foreign.put("input_features", [{"name": column, "type": "conversation"}])
    foreign.put("output_features", [text("reply" if column != "reply" else "answer")])


def instructions(foreign: Foreign, instruction: str, also: str | None, answer: str) -> None:
    """Write features and prompt of a table with an instruction, maybe a text that it is about, and an answer."""
    names = [instruction, *([also] if also else [])]
    foreign.put("input_features", [text(name) for name in names])
    foreign.put("output_features", [text(answer)])
    template = INSTRUCTION.replace("{{ instruction }}", f"{{{{ {instruction} }}}}")
    if also:
        template = template.replace("{{ input }}", f"{{{{ {also} }}}}").replace("if input", f"if {also}")
    else:
        template = template.split("{% if")[0] + "\n### Response:\n"
    foreign.put("prompt.template", template)


def warm_up(foreign: Foreign, steps: Any, ratio: Any) -> None:
    """Write the share of the steps over which the learning rate rises."""
    if isinstance(ratio, int | float):
        foreign.put("trainer.learning_rate_scheduler.warmup_fraction", ratio)
    elif isinstance(steps, float) and 0 < steps < 1:
        foreign.put("trainer.learning_rate_scheduler.warmup_fraction", steps)
    elif steps:
        total = foreign.result.get("trainer", {}).get("train_steps")
        if isinstance(steps, int) and isinstance(total, int) and total:
            share = round(min(1.0, steps / total), 4)
            foreign.put("trainer.learning_rate_scheduler.warmup_fraction", share)
        else:
            foreign.note(f"warmup_steps: {steps} steps are a share of all here; the usual warmup_fraction is kept")


def arithmetic(foreign: Foreign) -> None:
    """Write the types that training computes in."""
    if foreign.take("bf16") or foreign.take("bfloat16"):
        foreign.put("trainer.precision", "bf16")
    if foreign.take("fp16"):
        foreign.put("dtype", "fp16")


def held_out(foreign: Foreign, size: Any) -> None:
    """Write the split that keeps a share of the rows, or a number of them, for validation."""
    if not size:
        return
    if isinstance(size, float) and 0 < size < 1:
        share = round(size, 6)
        foreign.put("preprocessing.split", {"type": "random", "probabilities": [round(1 - share, 6), share, 0.0]})
    else:
        foreign.note(f"a validation set of {size} rows is a share of all here: write preprocessing.split.probabilities")
