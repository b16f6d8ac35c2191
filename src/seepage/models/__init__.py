"""Small reference networks; users bring their own as any `() -> nn.Module`."""

from seepage.models.base import Network
from seepage.models.cnn import cnn
from seepage.models.mlp import mlp
from seepage.models.registry import MODELS, build, known
from seepage.models.resnet import resnet9, resnet18
from seepage.models.vgg import vgg11
from seepage.models.wrn import wrn

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
