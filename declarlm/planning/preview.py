"""A look at rows as a model will read and learn them, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from declarlm.core.ragged import Ragged
from declarlm.features.cells import as_texts
from declarlm.models.ecd import Ecd
from declarlm.models.llm import Llm
from declarlm.prompts import PROMPT
from declarlm.prompts.rows import Span

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model

STYLES = {"cell": "cyan", "special": "magenta", "answer": "bold green", "stop": "bold magenta"}
LEARNED = ("answer", "stop")
PIECED_ROWS = 1000  # rows of raw text that the first pieces are made from
LEGEND = {"template": "template", "cell": "cell", "special": "special token", "answer": "learned", "stop": "stop token"}


@dataclass(frozen=True)
class Preview:
    """One row as a model sees it.

    Attributes:
        row: Index label of the row.
        spans: What the row becomes, in stretches of one role each; the roles ``answer`` and ``stop`` are learned.
        num_tokens: Tokens of the row; ``None`` for a model that reads columns and no prompt.
        num_learned: Tokens that are learned.
        num_cut: Tokens that the prompt lost to fit.
    """

    row: Any
    spans: list[Span]
    num_tokens: int | None = None
    num_learned: int | None = None
    num_cut: int = 0

    @property
    def title(self) -> str:
        """What can be counted."""
        counts = [] if self.num_tokens is None else [f"{self.num_tokens} tokens", f"{self.num_learned} learned"]
        return f"row {self.row}: {', '.join([*counts, *[f'{self.num_cut} cut'] * (self.num_cut > 0)])}".rstrip(": ")

    def dump(self) -> dict[str, Any]:
        """Return the preview as plain data."""
        row = self.row.item() if hasattr(self.row, "item") else self.row
        return {**vars(self), "row": row, "spans": [span._asdict() for span in self.spans]}

    def __str__(self) -> str:
        """Return the row as plain text, with what is learned in double brackets."""
        text = "".join(f"[[{span.text}]]" if span.role in LEARNED else span.text for span in self.spans)
        return f"--- {self.title}\n{text.replace(']][[', '')}\n"


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
    columns = [output.answers(table[output.config.source]) for output in model.outputs]
    answers = [list(row) for row in zip(*columns, strict=True)]
    encoded = model.encoder.encode(cells, answers, row_labels=list(table.index))
    previews = []
    for place, spans in enumerate(model.encoder.preview(cells, answers)):
        row = encoded[place]
        learned = sum(role != PROMPT for role in row.roles)
        previews.append(Preview(table.index[place], spans, len(row.ids), learned, row.num_cut))
    return previews


def _pieces(model: Llm, table: pd.DataFrame, num_pieces: int) -> list[Preview]:
    """Return raw text as it is laid end to end for pretraining: every token is learned."""
    pieces = [piece.tolist() for piece in model.pack(table, length=None).tokens.ids][:num_pieces]
    decode = model.backbone.tokenizer.decode
    return [
        Preview(f"piece {place}", [Span(decode(ids), "answer")], len(ids), len(ids)) for place, ids in enumerate(pieces)
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


def show(previews: Sequence[Preview]) -> None:
    """Print previews: coloured in a terminal, in plain text elsewhere."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(markup=False, emoji=False, highlight=False)
    if not screen.is_terminal:
        print(Previews(previews), end="")
        return
    for preview in previews:
        screen.rule(Text(preview.title, style="bold"), align="left", style="dim")
        screen.print(Text.assemble(*((span.text, STYLES.get(span.role, "")) for span in preview.spans)), soft_wrap=True)
    roles = {span.role for preview in previews for span in preview.spans}
    legend = [(f"{meaning}  ", STYLES.get(role, "")) for role, meaning in LEGEND.items() if role in roles]
    screen.rule(style="dim")
    screen.print(Text.assemble(*legend))
