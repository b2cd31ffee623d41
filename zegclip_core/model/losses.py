# Copyright 2026 ZegCLIP-ROS contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The non-mutually-exclusive loss and the pseudo labels of transductive self-training.

Reference: Zhou et al., "ZegCLIP", CVPR 2023, https://arxiv.org/abs/2212.03588, sections 3.3 and 4.
The sigmoid focal loss is that of Lin et al., https://arxiv.org/abs/1708.02002, the dice loss
that of Milletari et al., https://arxiv.org/abs/1606.04797; which sums and means are taken
follows the code release of ZegCLIP. Added here: pairs and classes that do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
import torch.nn.functional as F
from zegclip_core.options import UNLABELLED

IGNORED = UNLABELLED
"""Label of a pixel whose class is not known or not among the classes."""
UNSEEN = -1
"""Label of a pixel that is known to be of an unseen class, but not of which."""
_HIDDEN = -1e4
"""Logit of a word that does not count in a pixel, for the cross-entropy."""


class LossParts(NamedTuple):
    """The two weighted parts of the loss, float32 scalars."""

    mask: Tensor
    dice: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of both parts, which is what is minimised."""
        return self.mask + self.dice


def count_present_classes(labels: Tensor) -> Tensor:
    """Count the distinct classes of each image and sum the counts: the loss's normaliser.

    Over several processes, or several steps whose gradients are added up, average the count over
    them and give the result to ``NonExclusiveLoss`` as ``normalizer``.

    Args:
        labels: Class indices below ``IGNORED``, or ``UNSEEN``, int64 ``(B, H, W)``; ``IGNORED``
            does not count.

    Returns:
        The count, a float32 scalar, 0 if every pixel is ignored.
    """
    # Without a wait of the host for the device.
    present = torch.zeros((len(labels), IGNORED + 2), device=labels.device)
    present.scatter_(1, (labels - UNSEEN).flatten(1), 1.0)
    return present[:, : IGNORED - UNSEEN].sum()


def focal_maps(
    mask_logits: Tensor, target: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Return the sigmoid focal loss of every pixel and class, not reduced.

    ``target`` is 1 where the class is and 0 elsewhere. Positives weigh ``alpha`` and negatives
    ``1 - alpha``; with the focusing exponent ``gamma`` 0 it is the weighted cross-entropy.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(
        mask_logits, target, reduction='none'
    )
    probability = mask_logits.sigmoid()
    miss = probability * (1 - target) + (1 - probability) * target
    weight = alpha * target + (1 - alpha) * (1 - target)
    return weight * cross_entropy * miss**gamma


def dice_maps(probability: Tensor, target: Tensor) -> Tensor:
    """Return dice losses ``(B, K)`` in [0, 1) of scores ``(B, K, H, W)``, smoothed by 1."""
    overlap = 2 * (probability * target).sum(dim=(2, 3))
    total = probability.sum(dim=(2, 3)) + target.sum(dim=(2, 3))
    return 1 - (overlap + 1) / (total + 1)


@dataclass(frozen=True)
class NonExclusiveLoss:
    """Sigmoid focal loss over all classes and dice loss over the classes present.

    Classes do not compete: each is a yes or no of its own. The focal loss is averaged over
    pixels and summed over all images and classes, the dice loss summed over the classes that each
    image holds; both are divided by the number of classes present. A pixel labelled ``IGNORED``
    is a negative for every class, as published, which makes a low score mean "none of these".

    Attributes:
        mask_weight: Factor of the focal loss.
        dice_weight: Factor of the dice loss.
        alpha: Weight of the positives in the focal loss, in [0, 1].
        gamma: Focusing exponent of the focal loss, at least 0.

    Raises:
        ValueError: If a value is out of its range.

    Example:
        >>> loss = NonExclusiveLoss()
        >>> labels = torch.tensor([[[0, 0], [2, 255]]])
        >>> loss(torch.zeros(1, 3, 2, 2), labels).dice
        tensor(0.4500)

    """

    mask_weight: float = 100.0
    dice_weight: float = 1.0
    alpha: float = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f'Expected `alpha` to be in [0, 1], but got {self.alpha}.')
        for name in ('mask_weight', 'dice_weight', 'gamma'):
            if not getattr(self, name) >= 0.0:
                raise ValueError(
                    f'Expected `{name}` to be at least 0, but got {getattr(self, name)}.'
                )

    def __call__(
        self,
        mask_logits: Tensor,
        labels: Tensor,
        *,
        valid: Tensor | None = None,
        class_weights: Tensor | None = None,
        normalizer: Tensor | float | None = None,
    ) -> LossParts:
        """Compute both parts of the loss.

        Args:
            mask_logits: Scores before the sigmoid, float ``(B, K, H, W)``; computed in float32.
            labels: Class indices below ``K`` or ``IGNORED``, int64 ``(B, H, W)``.
            valid: Which pairs of class and pixel count, bool ``(B, K, H, W)`` or
                ``(B, 1, H, W)``. A pair that does not count adds nothing to either part; the mean
                over pixels still divides by ``H * W``. ``None`` counts all, as published.
            class_weights: Factor of each class in both parts, float ``(K,)``. ``None``: all 1.
            normalizer: What both parts are divided by, at least 1; smaller values count as 1.
                ``None`` takes ``count_present_classes(labels)``.

        Returns:
            The focal and the dice part, each times its weight.

        Raises:
            ValueError: If shapes do not fit each other or a label is neither a class nor
                ``IGNORED``.
        """
        _check_inputs(mask_logits, labels, valid, class_weights)
        logits = mask_logits.float()
        classes = torch.arange(logits.shape[1], device=labels.device)
        one_hot = labels[:, None] == classes[None, :, None, None]  # (B, K, H, W)
        target = one_hot.to(logits.dtype)
        focal = focal_maps(logits, target, alpha=self.alpha, gamma=self.gamma)
        probability = logits.sigmoid()
        if valid is not None:
            focal, probability, target = focal * valid, probability * valid, target * valid
        present = one_hot.flatten(2).any(dim=-1)
        mask_parts = focal.mean(dim=(2, 3))
        dice_parts = dice_maps(probability, target) * present
        if class_weights is not None:
            mask_parts, dice_parts = mask_parts * class_weights, dice_parts * class_weights
        count = present.sum() if normalizer is None else torch.as_tensor(normalizer)
        divisor = count.to(logits).clamp(min=1.0)
        return LossParts(
            mask=self.mask_weight * mask_parts.sum() / divisor,
            dice=self.dice_weight * dice_parts.sum() / divisor,
        )


def word_cross_entropy(
    mask_logits: Tensor, targets: Tensor, valid: Tensor, class_weights: Tensor
) -> Tensor:
    """Return the softmax cross-entropy over the words that count in each pixel, summed.

    Args:
        mask_logits: ``(B, K, H, W)``.
        targets: Class indices below ``K`` or ``IGNORED``, int64 ``(B, H, W)``.
        valid: Which pairs of class and pixel count, bool ``(B, K, H, W)``.
        class_weights: Factor of each class, float ``(K,)``.
    """
    hidden = mask_logits.masked_fill(~valid, _HIDDEN)
    return F.cross_entropy(
        hidden, targets, weight=class_weights, ignore_index=IGNORED, reduction='sum'
    )


def pseudo_labels(labels: Tensor, mask_logits: Tensor, seen: Sequence[int]) -> Tensor:
    """Replace the label ``UNSEEN`` by the best unseen class of the current prediction.

    That a pixel is of an unseen class is given by the protocol; only which one is guessed, from
    the first step on and without a threshold, as published.

    Args:
        labels: Class indices, ``UNSEEN`` or ``IGNORED``, int64 ``(B, H, W)``.
        mask_logits: Scores of all ``K`` classes, float ``(B, K, H, W)``; no gradient is kept.
        seen: Indices of the seen classes, each in ``[0, K)``; all others are unseen.

    Returns:
        New labels without ``UNSEEN``, int64 ``(B, H, W)``.

    Raises:
        ValueError: If shapes do not fit each other, ``seen`` is out of range, or there is
            ``UNSEEN`` to replace and no unseen class.
    """
    _check_shapes(mask_logits, labels)
    count = mask_logits.shape[1]
    outside = sorted(index for index in set(seen) if not 0 <= index < count)
    if outside:
        raise ValueError(f'Expected `seen` to hold indices in [0, {count}), but got {outside}.')
    unseen = torch.tensor(sorted(set(range(count)) - set(seen)), dtype=torch.long)
    missing = labels == UNSEEN
    if unseen.numel() == 0:
        if bool(missing.any()):
            raise ValueError('Expected an unseen class for pixels labelled -1, but all are seen.')
        return labels.clone()
    unseen = unseen.to(labels.device)
    guess = unseen[mask_logits.detach()[:, unseen].argmax(dim=1)]
    return torch.where(missing, guess, labels)


def _check_shapes(mask_logits: Tensor, labels: Tensor) -> None:
    """Raise unless the logits are ``(B, K, H, W)`` and the labels ``(B, H, W)``."""
    if mask_logits.ndim != 4 or labels.shape != mask_logits[:, 0].shape:
        raise ValueError(
            'Expected `mask_logits` of shape (B, K, H, W) and `labels` of shape (B, H, W), '
            f'but got {tuple(mask_logits.shape)} and {tuple(labels.shape)}.'
        )


def _check_inputs(
    mask_logits: Tensor, labels: Tensor, valid: Tensor | None, class_weights: Tensor | None
) -> None:
    """Raise if what the loss was given does not fit together."""
    _check_shapes(mask_logits, labels)
    batch, count, height, width = mask_logits.shape
    if valid is not None and (
        valid.dtype != torch.bool
        or tuple(valid.shape) not in {(batch, size, height, width) for size in (1, count)}
    ):
        raise ValueError(
            f'Expected `valid` to be bool of shape ({batch}, {count} or 1, {height}, {width}), '
            f'but got {valid.dtype} of shape {tuple(valid.shape)}.'
        )
    if class_weights is not None and tuple(class_weights.shape) != (count,):
        raise ValueError(
            f'Expected `class_weights` of shape ({count},), but got {tuple(class_weights.shape)}.'
        )
    wrong = labels[((labels < 0) | (labels >= count)) & (labels != IGNORED)]
    if wrong.numel() > 0:
        raise ValueError(f'Expected labels in [0, {count}) or {IGNORED}, but got {int(wrong[0])}.')
