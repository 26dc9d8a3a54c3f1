"""Pretrained text encoders of the Hugging Face library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self

from declarlm.adapters.base import Adapter, BoundAdapter, adapters, check_merging
from declarlm.adapters.into_base import Merged, Precision, merge_into_base, precision_of
from declarlm.backbones import Backbone, open_backbone
from declarlm.core import ModelError, Problem, param
from declarlm.core.files import write_json
from declarlm.core.ragged import Ragged
from declarlm.encoders.base import Encoder, encoders, grouped
from declarlm.encoders.tokens import padded

if TYPE_CHECKING:
    import torch
    from torch import nn

_CHUNK = 4096
_BODY, _ADAPTER, _MERGED = "body", "adapter", "merged.json"


@encoders.register("auto_transformer")
class AutoTransformerEncoder(Encoder):
    """Run texts through a pretrained model and pool its last hidden states.

    Input: texts. Output: pooled ``float32 (batch, hidden size)``, tokens ``float32 (batch, length, hidden size)``.
    A frozen body runs once for each different text; its vectors are kept on disk.
    """

    accepts = frozenset({"text"})
    pretrained = True
    learning_rate = 2e-5
    has_tokens = True

    class Config(Encoder.Config):
        pretrained_model_name_or_path: str | None = param("Hugging Face id or folder of the model.", default=None)
        use_pretrained: bool = param("Whether to load its weights; false starts from random ones.", default=True)
        trainable: bool = param("Whether all its weights are trained.", default=False)
        adapter: Adapter.Config | None = param(
            "What is trained beside the frozen weights.", default=None, registry=adapters
        )
        reduce_output: Literal["mean", "cls", "cls_pooled", "last", "max", "sum"] | None = param(
            "How the tokens of a text become one vector: their mean, the first, the first through the model's own "
            "pooler, the last, the largest or sum of each place; null is last for a decoder-only model, else mean.",
            default=None,
        )
        max_sequence_length: int | None = param(
            "Tokens of a text that are kept; null is as many as the model takes.", default=None, min=2
        )

        def check(self) -> Iterable[Problem]:
            if not self.pretrained_model_name_or_path:
                yield Problem("pretrained_model_name_or_path", "is required: a Hugging Face id or a folder")
            for problem in check_merging(self.adapter):
                yield replace(problem, path=f"adapter.{problem.path}")
            if self.adapter is not None and not self.use_pretrained and self.adapter.merges:
                yield Problem("use_pretrained", "must be true to merge an adapter into the weights")
            if self.adapter is not None and self.adapter.build().reads_rows:
                yield Problem("adapter.init_lora_weights", "eva is for language models; write pissa or default")
            if self.trainable and self.adapter is not None:
                yield Problem("trainable", "must be false with an adapter, which is trained in place of the weights")

    class State(Encoder.State):
        fingerprint: str = param("Hash of the model's files; another model must not take its place.")

    _place: str | None = None
    _is_merged = False  # whether a saved adapter is in the weights of the body

    @cached_property
    def backbone(self) -> Backbone:
        """The model's tokenizer and shape; its weights are loaded by ``build``."""
        return open_backbone(self._place or self.config.pretrained_model_name_or_path)

    @property
    def frozen(self) -> bool:
        return not self.config.trainable and self.config.adapter is None

    @property
    def max_length(self) -> int | None:
        """Most tokens of a text that are kept, special ones included; None without a limit."""
        whole, adapter = self.backbone.context_length, self.config.adapter
        whole = whole if adapter is None else adapter.room(whole)
        return min(filter(None, (self.config.max_sequence_length, whole)), default=None)

    @property
    def left_to_right(self) -> bool:
        return self._decoder_only

    @property
    def how(self) -> str:
        """How tokens are pooled, with the default filled in."""
        return self.config.reduce_output or ("last" if self._decoder_only else "mean")

    @property
    def _decoder_only(self) -> bool:
        from transformers.models.auto import modeling_auto

        kind = self.backbone.config.model_type
        writes, fills = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        return kind in writes and kind not in fills

    def fit(self, values: list[str]) -> Self:
        self.state = self.State(fingerprint=self.backbone.fingerprint)
        return self

    def transform(self, values: list[str]) -> Ragged:
        """Return the token ids of each text, with the tokenizer's special tokens, cut to ``max_length``."""
        # A tokenizer without special tokens makes nothing of an empty text, but a mean needs one token.
        return Ragged.from_rows([row or [self.backbone.pad_id] for row in self._tokenized(values, "input_ids")])

    def token_spans(self, values: list[str]) -> list[Any]:
        import numpy as np

        if not self.backbone.tokenizer.is_fast:
            problem = "has a tokenizer that does not tell where its tokens stand, which tagging words needs"
            raise ModelError(f"{self.backbone.name!r} {problem}; choose another encoder")
        rows = self._tokenized(values, "offset_mapping", return_offsets_mapping=True)
        return [np.array(row or [(0, 0)], dtype=np.int64) for row in rows]

    def _tokenized(self, values: list[str], what: str, **wanted: bool) -> Iterator[Any]:
        """Yield one thing that the tokenizer gives for each text, cut to ``max_length``."""
        cut = {"truncation": True, "max_length": self.max_length} if self.max_length else {}
        for start in range(0, len(values), _CHUNK):
            yield from self.backbone.tokenizer(
                values[start : start + _CHUNK],
                return_attention_mask=False,
                return_token_type_ids=False,
                **cut,
                **wanted,
            )[what]

    def collate(self, rows: Ragged) -> dict[str, torch.Tensor]:
        return padded(rows, self.backbone.pad_id)

    def costs(self, rows: Ragged) -> Any:
        return rows.lengths

    def build(self) -> nn.Module:
        body = self.backbone.load_encoder(dtype="float32") if self.config.use_pretrained else self._random_body()
        return self._wrap(body)

    def adapt(self, module: nn.Module, *, total_steps: int, seed: int) -> None:
        if self.config.adapter is not None:
            module.body = self._adapter.attach(module.body, total_steps=total_steps, seed=seed)

    @cached_property
    def _adapter(self) -> Any:
        return self.config.adapter.build()

    def _random_body(self) -> Any:
        import torch

        from declarlm.backbones.loading import encoder_class

        body = encoder_class(self.backbone).from_config(self.backbone.config, dtype=torch.float32)
        return body.requires_grad_(False).eval()

    def _wrap(self, body: Any) -> nn.Module:
        from declarlm.layers.pretrained import PretrainedText

        if self.how == "cls_pooled":
            self._check_pooler(body)
        body.config.use_cache = False  # Nothing is generated, so keys and values need not be kept.
        body.requires_grad_(self.config.trainable)
        if self.config.trainable and self.how != "cls_pooled" and getattr(body, "pooler", None) is not None:
            body.pooler.requires_grad_(False)  # It is not used, and weights without a gradient are an error.
        return PretrainedText(body, int(body.config.get_text_config().hidden_size), self.how, frozen=self.frozen)

    def _check_pooler(self, body: Any) -> None:
        from safetensors import safe_open

        files = sorted(self.backbone.folder.glob("*.safetensors"))
        names: set[str] = set()
        for path in files:
            with safe_open(path, "pt") as opened:
                names.update(opened.keys())
        stored = any("pooler" in name for name in names)
        if getattr(body, "pooler", None) is None or (self.config.use_pretrained and not stored):
            raise ModelError(f"{self.backbone.name!r} has no pooler of its own; write reduce_output: cls")

    def fingerprint(self, module: nn.Module) -> str:
        weights = self.backbone.fingerprint
        if not self.config.use_pretrained:
            digest = hashlib.sha256()
            for weight in module.parameters():
                digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
            weights = digest.hexdigest()
        return f"{weights} {self.how}"

    def parameter_groups(self, module: nn.Module, learning_rate: float | None) -> list[dict[str, Any]]:
        if self.config.adapter is not None:
            groups: list[dict[str, Any]] = self._adapter.parameter_groups(
                module.body, learning_rate or self._adapter.learning_rate
            )
            return groups
        return grouped(module, learning_rate or self.learning_rate)

    def hooks(self, module: nn.Module) -> list[Any]:
        return [] if self.config.adapter is None else [BoundAdapter(self._adapter, module.body)]  # type: ignore[arg-type]

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write what training changed: the whole model in its own format, or the adapter; a frozen one stays away."""
        body: Any = module.body
        adapter = None if self._is_merged else self.config.adapter
        if adapter is not None:
            self._adapter.save(body, folder / _ADAPTER)
            if adapter.merges:
                self.merged = self.save_merged(module, folder, "auto")
        if self.config.trainable or not self.config.use_pretrained or self._is_merged:
            self._save_body(body, folder)

    def _save_body(self, body: Any, folder: Path) -> None:
        body.save_pretrained(folder / _BODY)
        self.backbone.tokenizer.save_pretrained(folder / _BODY)

    def save_merged(self, module: nn.Module, folder: Path, precision: Precision) -> Merged | None:
        if self.config.adapter is None or self._is_merged:
            self.save(module, folder)
            return None
        with TemporaryDirectory() as place:
            self._adapter.save(module.body, Path(place))
            body, merged = merge_into_base(
                lambda: self.backbone.load_encoder(dtype="float32"),
                self._adapter,
                Path(place),
                [],
                precision=precision_of(self.backbone, precision),
            )
        self._save_body(body, folder)
        write_json(folder / _MERGED, merged.dump())
        return merged

    def load(self, folder: Path, *, trainable: bool = False) -> nn.Module:
        goes_on = trainable and self.config.adapter is not None
        if (folder / _BODY).is_dir() and not goes_on:
            self._place = str(folder / _BODY)
            self._is_merged = self.config.adapter is not None
            vars(self).pop("backbone", None)  # that of the base, if its tokenizer was needed before
        elif self.backbone.fingerprint != self.state.fingerprint:
            raise ModelError(
                f"{self.backbone.name!r} is not the model that this one was trained on; its files have changed"
            )
        module = self._wrap(self.backbone.load_encoder(dtype="float32"))
        if goes_on:
            self._adapter = self.config.adapter.replace(pretrained_adapter_weights=str(folder / _ADAPTER)).build()
            module.body = self._adapter.attach(module.body, total_steps=0, seed=0)
        elif self.config.adapter is not None and not self._is_merged:
            module.body = self._adapter.load(module.body, folder / _ADAPTER)
        return module
