"""Random changes of images in training, from an explicit generator of random numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

_SHIFT = 0.05
_ZOOM = 0.08
_DEGREES = 5.0
_CONTRAST = 0.2
_BRIGHTNESS = 0.1
_ARM_AREA = (0.2, 1.0)
_ARM_LOG_RATIO = math.log(4 / 3)


def augmented(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift, zoom, turn and re-expose every view of `pixels` (v, H, W) in [0, 1], each by its own draw.

    Up to 5 % shift, 8 % zoom, 5 degrees, 20 % contrast and 0.1 brightness; edge pixels are continued
    outwards and the result is clipped to [0, 1]. Not torchvision's: its random transforms draw from the
    global generator, and its affine fills what comes in from outside with one grey.
    """
    count = len(pixels)
    shift_x, shift_y, zoom, angle, contrast, brightness = rng.uniform(-1, 1, (6, count))
    scale = 1 + _ZOOM * zoom
    cosine, sine = np.cos(np.radians(_DEGREES * angle)) / scale, np.sin(np.radians(_DEGREES * angle)) / scale
    # affine_grid measures in half image sides, so a shift of a twentieth of the side is 0.1 there.
    rows = [[cosine, -sine, 2 * _SHIFT * shift_x], [sine, cosine, 2 * _SHIFT * shift_y]]
    theta = torch.from_numpy(np.array(rows, dtype=np.float32).transpose(2, 0, 1))
    grid = functional.affine_grid(theta, [count, 1, *pixels.shape[1:]], align_corners=False)
    moved = functional.grid_sample(pixels[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    gain = torch.from_numpy(1 + _CONTRAST * contrast).float()[:, None, None]
    offset = torch.from_numpy(_BRIGHTNESS * brightness).float()[:, None, None]
    return moved.sub_(0.5).mul_(gain).add_(offset + 0.5).clamp_(0, 1)


def cropped_and_flipped(view: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """R2Gen's augmentation of one `view` (H, W): a random crop of (size, size), mirrored half of the time.

    The shorter side of `view` should be `size` times 256 / 224. Source: cuhksz-nlp/R2Gen,
    modules/dataloaders.py (Resize 256, RandomCrop 224, RandomHorizontalFlip).
    """
    top, left = (int(rng.integers(side - size + 1)) for side in view.shape)
    cropped = transforms.crop(view, top, left, size, size)
    return transforms.horizontal_flip(cropped) if rng.random() < 0.5 else cropped


def resized_crops(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """ARM's: of every view of `pixels` (v, H, W) in [0, 1] a crop, brought to its size; half are mirrored.

    A crop has a fifth to all of the area and sides in a ratio from 3:4 to 4:3, as torchvision's
    RandomResizedCrop draws it (area evenly, ratio evenly in its logarithm, ten tries, then the whole view).
    """
    height, width = pixels.shape[1:]
    crops = []
    for view in pixels:
        top, left, tall, wide = 0, 0, height, width
        for _ in range(10):
            area = height * width * rng.uniform(*_ARM_AREA)
            ratio = math.exp(rng.uniform(-_ARM_LOG_RATIO, _ARM_LOG_RATIO))
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
                tall, wide = rows, columns
                break
        crop = transforms.resized_crop(
            view[None], top, left, tall, wide, [height, width], InterpolationMode.BICUBIC, antialias=True
        )[0].clamp_(0, 1)
        crops.append(transforms.horizontal_flip(crop) if rng.random() < 0.5 else crop)
    return torch.stack(crops)
