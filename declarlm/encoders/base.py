"""What every encoder has in common: from one column's values to hidden vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from declarlm.core import ModelError, Registry, Section

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from declarlm.adapters.into_base import Merged, Precision

WEIGHTS = "weights.safetensors"

encoders: Registry[Encoder] = Registry("encoder", package="declarlm.encoders")


class Encoder:
    """Turn the values of one input feature into hidden vectors.

    An encoder is made from its section, fitted on the training rows, and builds its module last::

        encoder = feature.make_encoder().fit(values)
        rows = encoder.transform(values)                  # array or Ragged, one entry a row
        module = encoder.build()                          # nn.Module with a width
        hidden = module(**encoder.collate(rows[:8]))      # Hidden

    Attributes:
        accepts: Kinds of values that the encoder takes, matched against what a feature ``emits``.
        pretrained: Whether its weights, if they are trained, need a far lower rate than new layers.
        learning_rate: Rate that suits its weights.
        has_tokens: Whether it gives a vector of each token, beside that of the row.
        config: The section that describes the encoder.
        state: What ``fit`` learned, saved with the model.
        merged: What merging an adapter into the weights changed, once that was done.
    """

    accepts: ClassVar[frozenset[str]]
    pretrained: ClassVar[bool] = False
    learning_rate: ClassVar[float] = 1e-3
    has_tokens: ClassVar[bool] = False

    class Config(Section):
        pass

    class State(Section):
        pass

    state: Any
    merged: Merged | None = None

    def __init__(self, config: Any, state: Any = None) -> None:
        self.config = config
        if state is not None:
            self.state = state

    @property
    def frozen(self) -> bool:
        """Whether the pooled vector of a row never changes in training, so that it can be computed once."""
        return False

    @property
    def max_length(self) -> int | None:
        """Most tokens of a row that are kept; None without a limit, or where rows have no tokens."""
        return None

    @property
    def left_to_right(self) -> bool:
        """Whether the vector of a token knows nothing of the tokens after it."""
        return False

    def fit(self, values: Any) -> Self:
        """Learn ``state`` from the training rows, as the feature's ``transform`` gives them."""
        self.state = self.State()
        return self

    def transform(self, values: Any) -> Any:
        """Return the rows in the form that is stored: an array whose first axis is the row, or a Ragged."""
        return values

    def collate(self, rows: Any) -> dict[str, torch.Tensor]:
        """Return the keyword arguments of the module for some of the transformed rows."""
        import torch

        return {"values": torch.from_numpy(rows)}

    def token_spans(self, values: list[str]) -> list[Any]:
        """Return where each token of each row stands in its text, ``int (tokens, 2)``: from where to where.

        A token that stands for no characters ends where it starts.
        """
        raise NotImplementedError

    def costs(self, rows: Any) -> Any:
        """Return what each transformed row costs, in tokens, ``int (rows,)``; 1 where rows have no tokens."""
        import numpy as np

        return np.ones(len(rows), dtype=np.int64)

    def build(self) -> nn.Module:
        """Return the module: it has a ``width`` and maps ``collate``'s tensors to a ``Hidden``."""
        raise NotImplementedError

    def adapt(self, module: nn.Module, *, total_steps: int, seed: int) -> None:
        """Put an adapter into the built module, where the config has one."""

    def fingerprint(self, module: nn.Module) -> str:
        """Return a hash of all that a frozen encoder's vectors depend on beside the rows."""
        raise NotImplementedError

    def parameter_groups(self, module: nn.Module, learning_rate: float | None) -> list[dict[str, Any]]:
        """Return the trainable weights in groups for an optimizer, each with its learning rate.

        Args:
            module: What ``build`` returned.
            learning_rate: The rate to use; None for the best known one.
        """
        return grouped(module, learning_rate or self.learning_rate)

    def hooks(self, module: nn.Module) -> list[Any]:
        """Return what takes part in every training step beside the module, such as an adapter."""
        return []

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the module's weights to ``folder``; none are written where there are none."""
        from declarlm.core.files import write_bytes

        if weights := module.state_dict():
            from safetensors.torch import save

            write_bytes(folder / WEIGHTS, save({name: weight.contiguous() for name, weight in weights.items()}))

    def save_merged(self, module: nn.Module, folder: Path, precision: Precision) -> Merged | None:
        """Write the module with its adapter, where it has one, in the weights; return what that changed."""
        self.save(module, folder)
        return None

    def load(self, folder: Path, *, trainable: bool = False) -> nn.Module:
        """Return the module with the weights that ``save`` wrote; ``trainable`` if training goes on from there.

        Raises:
            ModelError: If the weights are damaged, or those of another module.
        """
        module = self.build()
        load_weights(module, folder / WEIGHTS)
        return module


def grouped(module: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Return the trainable weights as parameter groups; biases, norms and embeddings do not decay."""
    from torch import nn

    undecayed = {
        id(weight)
        for part in module.modules()
        for name, weight in part.named_parameters(recurse=False)
        if weight.ndim < 2 or isinstance(part, nn.Embedding | nn.EmbeddingBag)
    }
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    decayed = {"params": [weight for weight in weights if id(weight) not in undecayed], "lr": learning_rate}
    plain = {"params": [weight for weight in weights if id(weight) in undecayed], "lr": learning_rate}
    return [group for group in (decayed, {**plain, "weight_decay": 0.0}) if group["params"]]


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module; a module without weights needs no file.

    Raises:
        ModelError: If the file is missing, damaged, or of another module.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not module.state_dict():
        return
    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the weights in {path} cannot be loaded: {error}") from error
