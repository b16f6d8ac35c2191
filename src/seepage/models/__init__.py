"""Small reference networks; users bring their own as any `() -> nn.Module`."""

from seepage.models.base import Network
from seepage.models.plain import cnn, mlp, vgg11
from seepage.models.registry import MODELS, build, known
from seepage.models.residual import resnet9, resnet18, wrn

__all__ = [
    "MODELS",
    "Network",
    "build",
    "cnn",
    "known",
    "mlp",
    "resnet9",
    "resnet18",
    "vgg11",
    "wrn",
]
