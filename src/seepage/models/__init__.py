"""Small reference networks; users bring their own as any `() -> nn.Module`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seepage.faces import lazily

if TYPE_CHECKING:
    from seepage.models.base import Network
    from seepage.models.names import known
    from seepage.models.plain import cnn, mlp, vgg11
    from seepage.models.registry import MODELS, build
    from seepage.models.residual import resnet9, resnet18, wrn
else:
    __getattr__, __dir__ = lazily(__name__)

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
