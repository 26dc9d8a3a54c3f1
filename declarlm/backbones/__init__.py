"""Backbones: Hugging Face models, found, checked and loaded without running anything of theirs."""

from declarlm.backbones.architecture import Architecture, from_scratch
from declarlm.backbones.backbone import Backbone, open_backbone
from declarlm.backbones.glance import Glance, glance_at
from declarlm.backbones.parameters import ModelParameters, RopeScaling
from declarlm.backbones.quantization import Quantization

__all__ = [
    "Architecture",
    "Backbone",
    "Glance",
    "ModelParameters",
    "Quantization",
    "RopeScaling",
    "from_scratch",
    "glance_at",
    "open_backbone",
]
