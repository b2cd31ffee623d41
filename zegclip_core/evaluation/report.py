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
"""What an evaluation looks like as a page: figures, classes, confusion, best and worst images."""

from pathlib import Path
import tempfile

from zegclip_core.data.folder import SegmentationDataset
from zegclip_core.evaluation.evaluate import Evaluation, find_symptoms, ImageScore
from zegclip_core.evaluation.plots import worst_sheet
from zegclip_core.images.confusion import save_confusion
from zegclip_core.images.page import Cell, Page

_FIGURES = {
    'miou': 'mIoU',
    'pixel_accuracy': 'pixel accuracy',
    'miou_seen': 'mIoU of the seen classes',
    'miou_unseen': 'mIoU of the unseen classes',
    'hiou': 'hIoU',
}


def evaluation_page(result: Evaluation, dataset: SegmentationDataset, model: str) -> Page:
    """Return an evaluation as a page.

    Args:
        result: The scores.
        dataset: What was labelled.
        model: Its name as the user gave it.
    """
    page = Page(f'{model} on {dataset.title}')
    metrics = result.metrics
    for line in find_symptoms(result):
        page.text(f'Warning: {line}')
    shown = {title: getattr(metrics, key) for key, title in _FIGURES.items()}
    if all(metrics.is_seen.values()):  # Then the others say the same, or nothing.
        shown = {title: shown[title] for title in list(shown)[:2]}
    rows: list[dict[str, Cell]] = [{'figure': name, '': value} for name, value in shown.items()]
    page.table(rows, bars=[''])
    each = result.seconds / max(result.images, 1)
    page.text(f'{result.images} images, {each:.3f} s each without reading files.')
    page.heading('Classes')
    classes: list[dict[str, Cell]] = [
        {'class': name, 'IoU': iou, 'in training': 'seen' if metrics.is_seen[name] else 'unseen'}
        for name, iou in metrics.iou.items()
    ]
    page.table(classes, bars=['IoU'])
    if result.painted:
        page.heading('Painted by words that no image shows')
        painted: list[dict[str, Cell]] = [
            {'word': name, 'share of all pixels': share} for name, share in result.painted.items()
        ]
        page.table(painted, bars=['share of all pixels'])
    page.heading('Confusion')
    page.picture(_confusion(result), 'Share of the pixels of each class that got each label.')
    _sheet(page, 'Worst images', dataset, result.worst)
    _sheet(page, 'Best images', dataset, result.best)
    return page


def _confusion(result: Evaluation) -> bytes:
    """Return the picture of the confusion matrix as a PNG file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'confusion.png'
        save_confusion(result.confusion.matrix, result.metrics.is_seen, path)
        return path.read_bytes()


def _sheet(
    page: Page, title: str, dataset: SegmentationDataset, scores: tuple[ImageScore, ...]
) -> None:
    """Show images beside prediction and truth; nothing, if there are none."""
    if scores:
        page.heading(title)
        page.picture(worst_sheet(dataset, scores), 'By the mean IoU of the classes in each mask.')
