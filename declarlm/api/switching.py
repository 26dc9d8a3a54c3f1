"""Choosing one of several adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from declarlm.adapters.named import BASE
from declarlm.config import LlmConfig, ModelConfig
from declarlm.core import ModelError
from declarlm.core.errors import choose_from
from declarlm.inference.generation import Generation
from declarlm.inference.several import rows_by_adapter
from declarlm.models.several import Several

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model


class Switches:
    """The verb that puts another adapter on the base."""

    config: ModelConfig
    _in_use: str | None = None

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters to choose from, the base aside; none where the config has no ``adapters``."""
        return list(self.config.adapters) if isinstance(self.config, LlmConfig) else []

    @property
    def adapter(self) -> str | None:
        """Name of the adapter in use, null for the base, or where there is none to choose."""
        return None if self._adapter_in_use() == BASE else self._adapter_in_use()

    def use(self, adapter: str | None) -> Self:
        """Let predictions and evaluations be made with an adapter from now on; null is the base without any.

        The base's weights stay where they are: nothing is loaded.

        Raises:
            ModelError: If the config's ``adapters`` has none of that name.
        """
        self._in_use = self._known(BASE if adapter is None else adapter)
        return self

    def _known(self, adapter: str) -> str:
        if not self.adapters:
            raise ModelError("there are no adapters to choose from; name trained ones under adapters in the config")
        if adapter not in (*self.adapters, BASE):
            raise ModelError(f"no adapter is named {choose_from(adapter, [*self.adapters, BASE])}")
        return adapter

    def _adapter_in_use(self) -> str:
        if self._in_use is None and isinstance(self.config, LlmConfig) and self.config.adapters:
            return self.config.active_adapter or self.adapters[0]
        return self._in_use or BASE

    def _rows(self, table: pd.DataFrame, adapter: str | None) -> dict[str, list[int]]:
        """Return the positions of the rows of each adapter: of the one that is given, of those that a column names."""
        column = self.config.adapter_column if isinstance(self.config, LlmConfig) else None
        if adapter is None and column is not None and self._in_use is None:
            rows = rows_by_adapter(table, column, [*self.adapters, BASE])
            return rows or {self._adapter_in_use(): []}
        chosen = self._adapter_in_use() if adapter is None else self._known(adapter)
        return {chosen: list(range(len(table)))}

    def _settings_under(self, model: Model, adapter: str, settings: Generation) -> Generation:
        """Return how an adapter writes text: as its run says, where neither the config nor the call says otherwise."""
        own: Any = model.settings.get(adapter) if isinstance(model, Several) else None
        if own is None:
            return settings
        usual = Generation().dump()
        given = {key: value for key, value in settings.dump().items() if value != usual[key]}
        return Generation.load({**own.dump(), **given}, source="generation")

    def _under(self, model: Model, adapter: str) -> Model:
        """Return the model under an adapter; where there are none to choose from, the model."""
        return model.choose(adapter) if isinstance(model, Several) else model
