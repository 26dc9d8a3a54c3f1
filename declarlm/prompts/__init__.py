"""From rows to tokens: templates, chat, answers. The only place where tokens are made."""

from declarlm.prompts.encoder import PromptEncoder
from declarlm.prompts.prompt import Prompt, check_prompt, system_columns
from declarlm.prompts.rows import ANSWER, PROMPT, STOP, EncodedRows, Row, Span

__all__ = [
    "ANSWER",
    "PROMPT",
    "STOP",
    "EncodedRows",
    "Prompt",
    "PromptEncoder",
    "Row",
    "Span",
    "check_prompt",
    "system_columns",
]
