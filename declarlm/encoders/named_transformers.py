"""Pretrained text encoders by the name of their family: auto_transformer with a usual model."""

from __future__ import annotations

from declarlm.core import param
from declarlm.encoders.auto_transformer import AutoTransformerEncoder
from declarlm.encoders.base import encoders

_DOC = "Hugging Face id or folder of the model."


@encoders.register("bert")
class BertEncoder(AutoTransformerEncoder):
    """BERT. Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="google-bert/bert-base-uncased")


@encoders.register("roberta")
class RobertaEncoder(AutoTransformerEncoder):
    """BERT trained longer and on more text. Source: Liu et al. 2019, https://arxiv.org/abs/1907.11692."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="FacebookAI/roberta-base")


@encoders.register("distilbert")
class DistilbertEncoder(AutoTransformerEncoder):
    """A BERT of half the depth, distilled. Source: Sanh et al. 2019, https://arxiv.org/abs/1910.01108."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="distilbert/distilbert-base-uncased")


@encoders.register("deberta")
class DebertaEncoder(AutoTransformerEncoder):
    """Attention apart by content and position. Source: He et al. 2021, https://arxiv.org/abs/2111.09543."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="microsoft/deberta-v3-base")


@encoders.register("modernbert")
class ModernbertEncoder(AutoTransformerEncoder):
    """BERT with the parts of today's decoders. Source: Warner et al. 2024, https://arxiv.org/abs/2412.13663."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="answerdotai/ModernBERT-base")


@encoders.register("electra")
class ElectraEncoder(AutoTransformerEncoder):
    """Trained to spot replaced words. Source: Clark et al. 2020, https://arxiv.org/abs/2003.10555."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="google/electra-base-discriminator")


@encoders.register("albert")
class AlbertEncoder(AutoTransformerEncoder):
    """A BERT whose layers share weights. Source: Lan et al. 2019, https://arxiv.org/abs/1909.11942."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="albert/albert-base-v2")


@encoders.register("xlmroberta")
class XlmRobertaEncoder(AutoTransformerEncoder):
    """RoBERTa in 100 languages. Source: Conneau et al. 2019, https://arxiv.org/abs/1911.02116."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="FacebookAI/xlm-roberta-base")


@encoders.register("camembert")
class CamembertEncoder(AutoTransformerEncoder):
    """RoBERTa in French. Source: Martin et al. 2019, https://arxiv.org/abs/1911.03894."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="almanach/camembert-base")


@encoders.register("mpnet")
class MpnetEncoder(AutoTransformerEncoder):
    """Sentence encoder for search and similarity. Source: Song et al. 2020, https://arxiv.org/abs/2004.09297."""

    class Config(AutoTransformerEncoder.Config):
        pretrained_model_name_or_path: str | None = param(_DOC, default="sentence-transformers/all-mpnet-base-v2")
