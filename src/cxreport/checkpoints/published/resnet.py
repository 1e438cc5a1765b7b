"""torchvision's residual networks, whole or cut into a list."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap
from cxreport.encoders.resnet import ResNet


def resnet_names(encoder: ResNet) -> NameMap:
    """torchvision's residual network cut into a list, as R2Gen's ``visual_extractor.model`` holds it."""
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    pairs = {}
    for ours in encoder.state_dict():
        child, _, rest = ours.partition(".")
        pairs[f"{places[child]}.{rest}"] = ours
    return NameMap(pairs)
