"""The prompt section, and the templates that stand in where the config is silent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from declarlm.core import ConfigError, Problem, Section, param
from declarlm.prompts.examples import CONTEXT, Retrieval
from declarlm.prompts.templates import (
    Field,
    FormatTemplate,
    InvalidTemplateError,
    Parts,
    Template,
    compile_template,
    read,
)


class Prompt(Section):
    """How a row becomes the text that a language model reads, and the text that it answers."""

    task: str | None = param("What the model shall do, in words; a template writes it as {{ task }}.", default=None)
    template: str | None = param(
        "Text with columns in it, as {column} or, in Jinja2, as {{ column }}; null makes one from the features.",
        default=None,
    )
    syntax: Literal["auto", "format", "jinja"] = param(
        "How templates are read: format ({column}), jinja ({{ column }}), or auto, which takes the only reading "
        "in which every field is known.",
        default="auto",
    )
    answer: str | None = param(
        "Template of the answer over the names of the outputs; null writes one output bare, several one per line.",
        default=None,
    )
    chat: bool | Literal["auto"] = param(
        "Whether the prompt goes through the model's own chat template; auto does so if the model has one.",
        default="auto",
    )
    system: str | None = param(
        "System message of the model's chat template, before all else where there is none; it may name columns as the"
        " template does.",
        default=None,
    )
    retrieval: Retrieval | None = param(
        "Training rows that the prompt shows as solved examples; a template writes them as {context}.", default=None
    )


@dataclass(frozen=True)
class CompiledPrompt:
    """The templates of a prompt.

    Attributes:
        template: Makes the user's message.
        system: Makes the system message.
        answer: Text and output fields, in order.
        syntaxes: How each was read, by path.
        example: Makes one solved example, from columns and outputs; None without retrieval.
        outputs: Names of the outputs.
        columns: What the templates read of a row.
    """

    template: Template
    system: Template | None
    answer: Parts
    syntaxes: dict[str, str | None]
    example: Template | None
    outputs: Sequence[str]

    @property
    def columns(self) -> list[str]:
        read = [template.columns for template in (self.template, self.system, self.example) if template is not None]
        return list(dict.fromkeys(name for names in read for name in names if name not in (CONTEXT, *self.outputs)))


def check_prompt(
    prompt: Prompt, inputs: Sequence[str], outputs: Sequence[str], columns: Collection[str] | None = None
) -> list[Problem]:
    """Return what is wrong with the templates.

    Args:
        prompt: The section.
        inputs: Names of the input features.
        outputs: Names of the output features.
        columns: Columns of the table; ``None`` while there is none, and any name may then be a column.
    """
    return _Compilation(prompt, inputs, outputs, (), columns).problems


def system_columns(prompt: Prompt, inputs: Sequence[str]) -> list[str]:
    """Return what ``prompt.system`` reads of a row."""
    system = _Compilation(prompt, inputs, (), (), None).system
    return [] if system is None else list(system.columns)


def compile_prompt(
    prompt: Prompt,
    inputs: Sequence[str],
    outputs: Sequence[str],
    text_outputs: Collection[str],
    columns: Collection[str] | None,
) -> CompiledPrompt:
    """Return the templates of ``prompt``.

    Raises:
        ConfigError: If ``check_prompt`` finds a problem.
    """
    compilation = _Compilation(prompt, inputs, outputs, text_outputs, columns)
    undecided = [path for path, syntax in compilation.syntaxes.items() if syntax is None]
    problems = compilation.problems or [
        Problem(path, "can be read as a {column} template and as Jinja; say which with prompt.syntax: format or jinja")
        for path in undecided
    ]
    if problems or compilation.template is None:
        raise ConfigError("config", problems)
    return CompiledPrompt(
        compilation.template,
        compilation.system,
        compilation.answer,
        compilation.syntaxes,
        compilation.example,
        outputs,
    )


def default_parts(
    task: str | None,
    inputs: Sequence[str],
    outputs: Sequence[str],
    text_outputs: Collection[str],
    *,
    examples: bool = False,
) -> Parts:
    """Return the prompt used without a template.

    One input is written bare, unless there is a task to tell it from; several are written ``name: value``, one per
    line. The task comes first, and a blank line after it. A line ``<output>:`` ends the prompt, so that the model
    sees what is asked; it is left out where a bare text is answered by a text (a continuation), and where several
    outputs are asked, since the answer then names each. Examples stand before the row, written as it is.
    """
    named = task is not None or len(inputs) > 1 or examples
    parts: list[str | Field] = [f"{task}\n\n"] if task is not None else []
    parts += [Field(CONTEXT)] * examples
    parts += _body(inputs, named)
    if len(outputs) > 1:
        parts.append("\n")
    elif outputs and (named or outputs[0] not in text_outputs):
        parts.append(f"\n{outputs[0]}:")
    return tuple(parts)


def _body(inputs: Sequence[str], named: bool) -> list[str | Field]:
    parts: list[str | Field] = []
    for index, name in enumerate(inputs):
        parts += ["\n"] * (index > 0) + [f"{name}: "] * named + [Field(name)]
    return parts


def _default_example(columns: Sequence[str], outputs: Sequence[str], answer: Parts) -> Parts:
    """Return a column or output per line, or columns and then the answer where that has a template."""
    named = [f"{outputs[0]}: "] if len(outputs) == 1 and answer[:1] == (Field(outputs[0]),) else []
    return (*_body(columns, True), "\n", *named, *answer)


def _default_answer(outputs: Sequence[str]) -> Parts:
    if len(outputs) < 2:
        return tuple(map(Field, outputs))
    parts: list[str | Field] = []
    for index, name in enumerate(outputs):
        parts += [f"\n{name}: " if index else f"{name}: ", Field(name)]
    return tuple(parts)


class _Compilation:
    """One pass over a prompt section, which collects templates and problems."""

    def __init__(
        self,
        prompt: Prompt,
        inputs: Sequence[str],
        outputs: Sequence[str],
        text_outputs: Collection[str],
        columns: Collection[str] | None,
    ) -> None:
        self.problems: list[Problem] = []
        self.syntaxes: dict[str, str | None] = {}
        self._prompt, self._inputs, self._outputs = prompt, inputs, outputs
        self._more = columns is None
        self._known = {*inputs, *(columns or ())} - set(outputs)
        self._texts = self._reserved()
        self.template: Template | None
        if prompt.template is None:
            few = prompt.retrieval is not None
            self.template = FormatTemplate(default_parts(prompt.task, inputs, outputs, text_outputs, examples=few))
        else:
            self.template = self._template("prompt.template", prompt.template)
        self.system = self._template("prompt.system", prompt.system) if prompt.system is not None else None
        self.answer = _default_answer(outputs) if prompt.answer is None else self._answer(prompt.answer)
        self.example = self._example(prompt.retrieval) if prompt.retrieval is not None else None

    def _reserved(self) -> dict[str, Parts]:
        """Return what ``task`` and Ludwig's names stand for; a feature of the same name comes first."""
        texts: dict[str, Parts] = {"__sample__": tuple(_body(self._inputs, len(self._inputs) > 1))}
        if self._prompt.task is not None:
            texts |= dict.fromkeys(("task", "__task__"), (self._prompt.task,))
        if self._prompt.retrieval is not None:
            texts |= dict.fromkeys(("context", CONTEXT), (Field(CONTEXT),))
        return {name: parts for name, parts in texts.items() if name not in self._inputs}

    def _template(self, path: str, source: str) -> Template | None:
        try:
            reserved = {*self._texts, *self._outputs, "__task__", CONTEXT}
            plain = path == "prompt.system"
            reading = read(source, self._prompt.syntax, self._known, reserved=reserved, more=self._more, plain=plain)
            self.syntaxes[path] = reading.syntax if reading is not None else None
            if reading is None:
                return None
            self._check_names(reading.names)
            if path == "prompt.template":
                self._check_use(reading.names)
            return compile_template(reading, self._texts)
        except InvalidTemplateError as problem:
            self.problems.append(Problem(path, str(problem)))
            return None

    def _check_names(self, names: Collection[str]) -> None:
        if CONTEXT in names and self._prompt.retrieval is None:
            raise InvalidTemplateError(
                "{__context__} stands for solved examples: write prompt.retrieval: {type: semantic}, or random"
            )
        if "__task__" in names and self._prompt.task is None:
            raise InvalidTemplateError("{__task__} stands for prompt.task, which is not set")
        leaked = [name for name in self._outputs if name in names]
        if leaked:
            raise InvalidTemplateError(f"names the output {leaked[0]!r}: the model would be shown the answer")

    def _check_use(self, names: Collection[str]) -> None:
        """Refuse a template that says the same for every row, or leaves out the task."""
        task_names, example_names = ({name, f"__{name}__"} & set(self._texts) for name in ("task", "context"))
        if not set(names) - task_names - example_names:
            example = self._inputs[0] if self._inputs else "column"
            raise InvalidTemplateError(f"names no column; write {{{example}}} where the cell belongs")
        if task_names and not task_names & set(names):
            raise InvalidTemplateError("does not use prompt.task; write {task} where it belongs, or remove prompt.task")
        if example_names and not example_names & set(names):
            name = "context" if "context" in example_names else CONTEXT
            raise InvalidTemplateError(
                f"shows no examples; write {{{name}}} where they belong, or remove prompt.retrieval"
            )

    def _example(self, retrieval: Retrieval) -> Template | None:
        if retrieval.example is None:
            read_columns = [name for name in (self.template.columns if self.template else ()) if name != CONTEXT]
            return FormatTemplate(_default_example(read_columns, self._outputs, self.answer))
        path, known = "prompt.retrieval.example", {*self._known, *self._outputs}
        try:
            reading = read(retrieval.example, self._prompt.syntax, known, more=self._more)
            self.syntaxes[path] = reading.syntax if reading is not None else None
            if reading is None:
                return None
            lacking = [name for name in self._outputs if name not in reading.names]
            if lacking:
                raise InvalidTemplateError(f"does not show the output {lacking[0]!r}; write {{{lacking[0]}}}")
            return compile_template(reading, {})
        except InvalidTemplateError as problem:
            self.problems.append(Problem(path, str(problem)))
            return None

    def _answer(self, source: str) -> Parts:
        try:
            reading = read(source, self._prompt.syntax, self._outputs, kind="output")
            parts = reading.parts if reading is not None else None
            if parts is None:
                raise InvalidTemplateError("may hold text and outputs only: it must be clear where each one starts")
            _check_answer(parts, self._outputs)
        except InvalidTemplateError as problem:
            self.problems.append(Problem("prompt.answer", str(problem)))
            return ()
        return parts


def _check_answer(parts: Parts, outputs: Sequence[str]) -> None:
    fields = [part for part in parts if isinstance(part, Field)]
    for name in outputs:
        if (count := sum(field.name == name for field in fields)) != 1:
            raise InvalidTemplateError(f"must name each output once, and names {name!r} {count} times")
    if [field.name for field in fields] != list(outputs):
        raise InvalidTemplateError(f"must name the outputs in the order of output_features: {', '.join(outputs)}")
    if any(field.spec for field in fields):
        raise InvalidTemplateError("cannot format an output; write {name}")
    for first, second in pairwise(parts):
        if isinstance(first, Field) and isinstance(second, Field):
            raise InvalidTemplateError(
                f"needs text between {first.name!r} and {second.name!r}, which tells where one ends"
            )
