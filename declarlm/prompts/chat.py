"""What a model's own chat template puts around messages.

The template is rendered once, with an unguessable marker as the content of each message, and split at the markers.
Cells are written into the gaps later: the template never sees them, so they can neither break nor steer it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from declarlm.core import ModelError
from declarlm.prompts.budget import budget
from declarlm.prompts.segments import Segment, strip

if TYPE_CHECKING:
    from declarlm.prompts.sandbox import Sandbox
    from declarlm.prompts.tokenization import Tokenization

REMEDY = "set prompt.chat: false"
UNSAID = "remove prompt.system"  # what helps where a template refuses the system message
# Characters that a template might escape or trim; none of them means anything to a chat template.
_AWKWARD = " <&>\"'\\/ {{ x }} \n\n ß é 漢 "
# A template may strip line ends alone, and write its own in their place: never as many.
_SPACE, _LINES = " \t", "\n" * 8
_LEFT_PAD, _RIGHT_PAD = _LINES + _SPACE, _SPACE[::-1] + _LINES
# A template that writes today's date would make another prompt every day than the one trained on.
_FIXED_DATE = datetime(2024, 7, 26)


@dataclass(frozen=True)
class Slot:
    """The place of a message's content, and which of its ends the template strips.

    Attributes:
        message: Number of the message, from 0.
    """

    message: int
    strip_left: bool
    strip_right: bool


@dataclass(frozen=True)
class Frame:
    """A chat with empty messages.

    Attributes:
        pieces: The template's text and the gaps, in order, up to where the assistant speaks.
        lead: White space between the prompt and the answer.
        answer: The place of the answer.
        turn_end: What the template writes behind the answer.
    """

    pieces: tuple[str | Slot, ...]
    lead: str
    answer: Slot
    turn_end: str

    @property
    def ending(self) -> str:
        """The text that every prompt ends in; empty if a message comes last."""
        return self.pieces[-1] if isinstance(self.pieces[-1], str) else ""

    def fill(self, contents: Sequence[Sequence[Segment]]) -> list[Segment]:
        """Return the prompt with the messages' contents, in order, in the gaps."""
        filled: list[Segment] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                filled.append(Segment(piece))
            else:
                filled += strip(contents[piece.message], left=piece.strip_left, right=piece.strip_right)
        return filled


def chat_frame(tokenizer: Any, template: str, roles: Sequence[str], unsaid: str = UNSAID) -> Frame:
    """Return the frame of a chat with messages of the given roles and then an answer.

    Args:
        tokenizer: A Hugging Face tokenizer, for the names of its special tokens.
        template: A chat template.
        roles: Who speaks, in order.
        unsaid: How to do without a system message, for errors.

    Raises:
        ModelError: If the template cannot be run, or drops, repeats or alters a message.
    """
    speakers = [*roles, "assistant"]
    cores = [f"{secrets.token_hex(8)}Aa{_AWKWARD}Bb{secrets.token_hex(8)}" for _ in speakers]
    messages = [
        {"role": role, "content": f"{_LEFT_PAD}{core}{_RIGHT_PAD}"} for role, core in zip(speakers, cores, strict=True)
    ]
    remedy = f"{unsaid} or {REMEDY}" if "system" in roles else REMEDY
    prompt = _render(tokenizer, template, messages[:-1], remedy, header=True)
    whole = _render(tokenizer, template, messages, remedy, header=False)
    pieces: list[str | Slot] = []
    rest = prompt
    for place in sorted(range(len(roles)), key=lambda place: prompt.find(cores[place])):
        before, slot, rest = _split(rest, place, speakers[place], cores[place], remedy)
        pieces += [before, slot]
    before, answer, turn_end = _split(whole, len(roles), "assistant", cores[-1], REMEDY)
    between = before.removeprefix(prompt) if before.startswith(prompt) else ""
    lead = between if not between.strip() else ""
    return Frame(tuple(piece for piece in [*pieces, rest] if piece), lead, answer, turn_end)


def _split(rendered: str, place: int, role: str, core: str, remedy: str) -> tuple[str, Slot, str]:
    """Return what is before and after a message, and what happens to the white space at the message's ends."""
    _check_intact(rendered, role, core, remedy if role == "system" else REMEDY)
    before, after = rendered.split(core)
    slot = Slot(place, not before.endswith(_LEFT_PAD), not after.startswith(_RIGHT_PAD))
    left = next((len(pad) for pad in _pads(_LEFT_PAD) if before.endswith(pad)), 0)
    right = next((len(pad) for pad in _pads(_LEFT_PAD) if after.startswith(pad[::-1])), 0)
    return before[: len(before) - left], slot, after[right:]


def _pads(whole: str) -> tuple[str, ...]:
    """Return what may be left of a pad, the longest first."""
    return (whole, *(whole[-size:] for size in range(len(_SPACE), 0, -1)))


def _check_intact(rendered: str, role: str, core: str, remedy: str) -> None:
    """Refuse a template after which a message is not exactly once what it was."""
    times = rendered.count(core)
    if times == 1:
        return
    traces = core[:8].lower() in rendered.lower() or core[-8:].lower() in rendered.lower()
    verb = "repeats" if times > 1 else "alters" if traces else "drops"
    raise ModelError(f"the tokenizer's chat template {verb} the {role} message; {remedy}")


def _render(tokenizer: Any, source: str, messages: list[dict[str, str]], remedy: str, *, header: bool) -> str:
    from declarlm.prompts.sandbox import TEMPLATE_ERRORS

    values = {
        **tokenizer.special_tokens_map,
        "messages": messages,
        "tools": None,
        "documents": None,
        "add_generation_prompt": header,
        "enable_thinking": False,  # The answer follows at once.
    }
    try:
        sandbox = _sandbox()
        with budget():
            template = sandbox.from_string(source)
        return "".join(sandbox.run(template, values))
    except TEMPLATE_ERRORS as error:
        raise ModelError(f"the tokenizer's chat template cannot be used: {error}; {remedy}") from None


@cache
def _sandbox() -> Sandbox:
    """Return an environment set up as transformers sets up its own."""
    from jinja2.exceptions import TemplateError

    from declarlm.prompts.sandbox import Sandbox

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    sandbox = Sandbox(keep_trailing_newline=False)
    sandbox.globals |= {"raise_exception": raise_exception, "strftime_now": _FIXED_DATE.strftime}
    return sandbox


def find_stop(frame: Frame | None, tokenization: Tokenization, eos_id: int | None, stop_ids: Collection[int]) -> int:
    """Return the token that ends a turn of the chat, or a text.

    Raises:
        ModelError: If there is none.
    """
    if frame is not None:
        after = tokenization.place([Segment(frame.turn_end)])
        first = next((segment for segment in after if segment.text.strip()), None)
        if first is not None and first.token is not None:
            return first.token
    if eos_id is not None and (eos_id in stop_ids or not stop_ids):
        return int(eos_id)
    if not stop_ids:
        raise ModelError("the tokenizer has no token that ends a text; set its eos_token")
    return min(stop_ids)
