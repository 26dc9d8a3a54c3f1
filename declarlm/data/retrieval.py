"""Training rows that prompts show as solved examples, and which of them a row gets.

What a row gets depends on its own inputs, the index and the seed alone: never on the rows beside it, nor on whether
it is trained on, predicted or served.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from declarlm.core import DataError, ModelError, named_at
from declarlm.core.files import read_json, write_bytes, write_json
from declarlm.data.hidden import hidden_store
from declarlm.prompts.examples import MINILM, Retrieval

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from declarlm.encoders.base import Encoder

FOLDER, ROWS, VECTORS = "retrieval", "examples.json", "vectors.safetensors"
_BLOCK = 256  # queries that are compared at a time
_DIGITS = 5  # of a similarity; what is equal so far goes by place, as sums in another order differ beyond


class ExampleIndex:
    """The different rows of the training split, as examples.

    Args:
        settings: The section.
        seed: Seed of random draws.
        inputs: What each row is found by; of rows with the same inputs the first is kept.
        examples: How each row is shown.

    Attributes:
        inputs: What each kept row is found by.
        examples: How each kept row is shown.
    """

    def __init__(self, settings: Retrieval, seed: int, inputs: Sequence[str], examples: Sequence[str]) -> None:
        self._settings, self._seed = settings, seed
        first: dict[str, str] = {}
        for text, example in zip(inputs, examples, strict=True):
            first.setdefault(text, example)
        self.inputs, self.examples = list(first), list(first.values())
        self._places = {text: place for place, text in enumerate(self.inputs)}
        self._recent: dict[str, np.ndarray[Any, Any]] = {}

    def check(self) -> Self:
        """Refuse an index in which a row would not find as many others as it is to be shown.

        Raises:
            DataError: With both numbers.
        """
        found, wanted = len(self.examples), self._settings.k
        if found <= wanted:
            raise DataError(
                f"prompt.retrieval.k is {wanted}, and the training split has {found} rows with different inputs; a row "
                "is never shown to itself, so write a smaller k or give more rows"
            )
        return self

    def find(self, queries: Sequence[str]) -> list[list[str]]:
        """Return the examples for each of some rows, the least alike first; never one with the same inputs.

        Args:
            queries: The inputs of each row.
        """
        nearest = self._drawn(queries) if self._settings.type == "random" else self._alike(queries)
        return [[self.examples[place] for place in reversed(places)] for places in nearest]

    def _drawn(self, queries: Sequence[str]) -> list[list[int]]:
        return [self._draw(query) for query in queries]

    def _draw(self, query: str) -> list[int]:
        own = self._places.get(query)
        digest = hashlib.sha256(f"{self._seed}\n{query}".encode(errors="surrogatepass")).digest()
        count = min(len(self.examples), self._settings.k + 1)
        drawn = random.Random(digest).sample(range(len(self.examples)), count)
        return [place for place in drawn if place != own][: self._settings.k]

    def _alike(self, queries: Sequence[str]) -> list[list[int]]:
        import numpy as np

        asked, count = self._vectors_for(queries), min(self._settings.k, len(self.examples))
        rows = np.asarray(self.vectors, dtype=np.float32)
        found: list[list[int]] = []
        for start in range(0, len(queries), _BLOCK):
            block = slice(start, start + _BLOCK)
            likeness = np.round(asked[block] @ rows.T, _DIGITS)
            for row, query in enumerate(queries[block]):
                if (own := self._places.get(query)) is not None:
                    likeness[row, own] = -np.inf
            bounds = -np.partition(-likeness, count - 1, axis=1)[:, count - 1]
            for values, bound in zip(likeness, bounds, strict=True):
                near = np.flatnonzero((values >= bound) & np.isfinite(values))
                found.append(near[np.argsort(-values[near], kind="stable")][:count].tolist())
        return found

    def _vectors_for(self, queries: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return the direction of each query's vector, ``float32 (queries, width)``; those of the index are known.

        New ones are not rounded: with other texts beside them they differ in the last digits, which rounding can widen.
        """
        import numpy as np

        new = [query for query in queries if query not in self._places]
        found = np.zeros((len(queries), self.vectors.shape[1]), dtype=np.float32)
        is_new = np.array([query not in self._places for query in queries], dtype=bool)
        found[~is_new] = self.vectors[[self._places[query] for query in queries if query in self._places]]
        if new:
            found[is_new] = self._directions_of(new)
        return found

    @cached_property
    def vectors(self) -> np.ndarray[Any, Any]:
        """The direction of each row's vector, ``float16 (rows, width)``."""
        import numpy as np

        return self._directions_of(self.inputs).astype(np.float16)

    def _directions_of(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        import numpy as np

        encoder, module = self._encoder, self._module
        store = hidden_store(encoder, module, encoder.transform(list(texts)), self._recent)
        vectors = store.take(np.arange(len(texts)))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        directions: np.ndarray[Any, Any] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return directions

    @property
    def _name(self) -> str:
        """The encoder's name; one without an owner is a model of the sentence-transformers library, as it is there."""
        name = self._settings.model_name or MINILM
        is_known = "/" in name or name == "starter" or Path(name).is_dir()
        return name if is_known else f"sentence-transformers/{name}"

    @cached_property
    def _encoder(self) -> Encoder:
        from declarlm.encoders.auto_transformer import AutoTransformerEncoder

        encoder: Encoder = AutoTransformerEncoder.Config(pretrained_model_name_or_path=self._name).build()
        with named_at("prompt.retrieval.model_name"):
            return encoder.fit([])

    @cached_property
    def _module(self) -> nn.Module:
        # On the CPU wherever the model is: so the same row finds the same examples on every machine.
        return self._encoder.build().eval()

    @property
    def _is_semantic(self) -> bool:
        return self._settings.type == "semantic"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides which examples a row gets."""
        encoder = self._encoder.state.fingerprint if self._is_semantic else None
        parts = [self._settings.dump(), self._seed, encoder, self.inputs, self.examples]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the index below ``folder``."""
        encoder = self._encoder.state.fingerprint if self._is_semantic else None
        rows = {"seed": self._seed, "encoder": encoder, "inputs": self.inputs, "examples": self.examples}
        write_json(folder / FOLDER / ROWS, rows)
        if self._is_semantic:
            from safetensors.numpy import save

            write_bytes(folder / FOLDER / VECTORS, save({"vectors": self.vectors}))

    @classmethod
    def load(cls, settings: Retrieval, folder: Path) -> ExampleIndex:
        """Return what ``save`` wrote.

        Raises:
            ModelError: If the encoder is another one now.
            RunError: If a file is missing or damaged.
        """
        rows = read_json(folder / FOLDER / ROWS)
        index = cls(settings, rows["seed"], rows["inputs"], rows["examples"])
        if index._is_semantic:
            from safetensors.numpy import load_file

            if index._encoder.state.fingerprint != rows["encoder"]:
                raise ModelError(
                    f"{index._name!r} is not the encoder that examples were indexed with; its files have changed"
                )
            vars(index)["vectors"] = load_file(folder / FOLDER / VECTORS)["vectors"]
        return index
