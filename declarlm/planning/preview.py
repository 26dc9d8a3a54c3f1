"""A look at rows as a model will read and learn them, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from declarlm.core.ragged import Ragged
from declarlm.features.cells import as_texts
from declarlm.models.ecd import Ecd
from declarlm.models.llm import Llm
from declarlm.models.llm_cells import answers_of
from declarlm.prompts import ANSWER, PROMPT
from declarlm.prompts.rows import Span

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model

STYLES = {"cell": "cyan", "special": "magenta", "answer": "bold green", "stop": "bold magenta"}
LEARNED = ("answer", "stop")
PIECED_ROWS = 1000  # rows of raw text that the first pieces are made from
LEGEND = {
    "prompt": "prompt",
    "template": "template",
    "cell": "cell",
    "special": "special token",
    "answer": "learned",
    "stop": "stop token",
}
BORDER = "·"  # between two tokens
ROLES = ("prompt", "answer", "stop")  # by PROMPT, ANSWER and STOP


class Token(NamedTuple):
    """A token of a previewed row.

    Attributes:
        id: Its number.
        text: What it writes where it stands; empty for the first bytes of a character.
        role: "prompt", "answer" or "stop".
    """

    id: int
    text: str
    role: str


@dataclass(frozen=True)
class Preview:
    """One row as a model sees it.

    Attributes:
        row: Index label of the row.
        spans: What the row becomes, in stretches of one role each; the roles ``answer`` and ``stop`` are learned.
        num_tokens: Tokens of the row; ``None`` for a model that reads columns and no prompt.
        num_learned: Tokens that are learned.
        num_cut: Tokens that the prompt lost to fit.
        tokens: The tokens; none for a model that reads columns.
    """

    row: Any
    spans: list[Span]
    num_tokens: int | None = None
    num_learned: int | None = None
    num_cut: int = 0
    tokens: list[Token] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What can be counted."""
        counts = [] if self.num_tokens is None else [f"{self.num_tokens} tokens", f"{self.num_learned} learned"]
        return f"row {self.row}: {', '.join([*counts, *[f'{self.num_cut} cut'] * (self.num_cut > 0)])}".rstrip(": ")

    def dump(self) -> dict[str, Any]:
        """Return the preview as plain data."""
        row = self.row.item() if hasattr(self.row, "item") else self.row
        lists = {"spans": [span._asdict() for span in self.spans], "tokens": [token._asdict() for token in self.tokens]}
        return {**vars(self), "row": row, **lists}

    def stretches(self, *, by_token: bool = False) -> list[tuple[str, str]]:
        """Return texts and their roles: the spans, or the tokens (where there are any), each with its border."""
        if not by_token or not self.tokens:
            return [(span.text, span.role) for span in self.spans]
        borders = ["" if place == 0 else BORDER for place in range(len(self.tokens))]
        return [(border + token.text, token.role) for border, token in zip(borders, self.tokens, strict=True)]

    def plain(self, *, by_token: bool = False) -> str:
        """Return the row as plain text, with what is learned in double brackets."""
        stretches = self.stretches(by_token=by_token)
        text = "".join(f"[[{text}]]" if role in LEARNED else text for text, role in stretches)
        return f"--- {self.title}\n{text.replace(']][[', '')}\n"

    def __str__(self) -> str:
        return self.plain()


class Previews(list[Preview]):
    """Several rows, which a notebook shows as plain text."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))


def preview_rows(model: Model, table: pd.DataFrame, num_rows: int, *, seed: int) -> Previews:
    """Return the first rows of a table as ``model`` reads them; one that is not fitted yet is fitted to the table.

    Raises:
        DataError: If the table does not hold what the config says.
    """
    with TemporaryDirectory() as folder:
        if not hasattr(model, "module"):
            model.fit(table, seed=seed, folder=Path(folder))
        head = table.iloc[:num_rows]
        if isinstance(model, Llm):
            pieced = table.iloc[:PIECED_ROWS]
            return Previews(_prompts(model, head) if model.outputs else _pieces(model, pieced, num_rows))
        if isinstance(model, Ecd):
            return Previews(_columns(model, head))
    raise TypeError(f"no preview for {type(model).__name__}")


def _prompts(model: Llm, table: pd.DataFrame) -> list[Preview]:
    cells = model.cells(table)
    columns = [answers_of(output, table, model.backbone.tokenizer) for output in model.outputs]
    answers = [list(row) for row in zip(*columns, strict=True)]
    encoded = model.encoder.encode(cells, answers, row_labels=list(table.index))
    previews = []
    for place, spans in enumerate(model.encoder.preview(cells, answers)):
        row = encoded[place]
        learned = sum(role != PROMPT for role in row.roles)
        tokens = _tokens(model, row.ids, row.roles)
        previews.append(Preview(table.index[place], spans, len(row.ids), learned, row.num_cut, tokens))
    return previews


def _tokens(model: Llm, ids: Sequence[int], roles: Sequence[int]) -> list[Token]:
    """Return tokens with what each adds to the text."""

    def text_of(start: int, end: int) -> str:
        return str(model.backbone.tokenizer.decode(ids[start:end], clean_up_tokenization_spaces=False))

    tokens = []
    before = start = 0  # Where the last written token begins, on which spaces depend, and where it ends.
    for place, (token, role) in enumerate(zip(ids, roles, strict=True), 1):
        text = text_of(before, place)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            tokens.append(Token(token, "", ROLES[role]))
            continue
        tokens.append(Token(token, text[len(text_of(before, start)) :], ROLES[role]))
        before, start = start, place
    return tokens


def _pieces(model: Llm, table: pd.DataFrame, num_pieces: int) -> list[Preview]:
    """Return raw text as it is laid end to end for pretraining: every token is learned."""
    pieces = [piece.tolist() for piece in model.pack(table, length=None).tokens.ids][:num_pieces]
    decode = model.backbone.tokenizer.decode
    return [
        Preview(
            *(f"piece {place}", [Span(decode(ids), "answer")], len(ids), len(ids)),
            tokens=_tokens(model, ids, [ANSWER] * len(ids)),
        )
        for place, ids in enumerate(pieces)
    ]


def _columns(model: Ecd, table: pd.DataFrame) -> list[Preview]:
    """Return each column's cell, and what an encoder or a loss gets in its place."""
    store = model.encode(table)
    width = max(len(feature.name) for feature in (*model.inputs, *model.outputs))
    previews = []
    for place, label in enumerate(table.index):
        spans: list[Span] = []
        for feature in model.inputs:
            cell = feature.render(table[feature.config.source].iloc[place : place + 1])[0]
            spans += [Span(f"{feature.name:<{width}}  ", "template"), Span(cell, "cell", feature.name)]
            spans.append(Span(f"  -> {_brief(store.inputs[feature.name], place)}\n", "template"))
        for output in model.outputs:
            cell = as_texts(table[output.config.source].iloc[place : place + 1]).iloc[0] or ""
            spans += [Span(f"{output.name:<{width}}  ", "template"), Span(cell, "answer", output.name)]
            spans.append(Span(f"  -> {_brief(store.targets[output.name], place)}\n", "template"))
        previews.append(Preview(label, [*spans[:-1], Span(spans[-1].text.rstrip(), "template")]))
    return previews


def _brief(values: Any, row: int) -> str:
    """Return what stands for a cell in a few characters."""
    value = values[row]
    if isinstance(values, Ragged):
        return f"{len(value)} tokens"
    if getattr(value, "size", 1) > 1:
        return f"{value.size} numbers, {int((value != 0).sum())} not zero"
    number = value.item() if hasattr(value, "item") else value
    return f"{number:.4g}" if isinstance(number, float) else str(number)


def show(previews: Sequence[Preview], *, by_token: bool = False) -> None:
    """Print previews: coloured in a terminal, in plain text elsewhere; with a mark between tokens ``by_token``."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(markup=False, emoji=False, highlight=False)
    if not screen.is_terminal:
        print("\n".join(preview.plain(by_token=by_token) for preview in previews), end="")
        return
    for preview in previews:
        screen.rule(Text(preview.title, style="bold"), align="left", style="dim")
        stretches = preview.stretches(by_token=by_token)
        screen.print(Text.assemble(*((text, STYLES.get(role, "")) for text, role in stretches)), soft_wrap=True)
    roles = {role for preview in previews for _, role in preview.stretches(by_token=by_token)}
    legend = [(f"{meaning}  ", STYLES.get(role, "")) for role, meaning in LEGEND.items() if role in roles]
    screen.rule(style="dim")
    screen.print(Text.assemble(*legend))
