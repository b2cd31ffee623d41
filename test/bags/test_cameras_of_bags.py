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
"""Several cameras in one run: which topics are labelled, and where their labels go."""

from pathlib import Path

from bag_helpers import (
    camera_bag,
    Command,
    COMPRESSED,
    content,
    IMAGE,
    on_topic,
    pixels_of,
    raw_compressed,
    raw_file,
    raw_image,
    red_until,
    write_bag,
)
from commands import refused
import numpy as np
import pytest

WORDS = ('--classes', 'tomato, sky')


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def robot(path: Path) -> Path:
    """Write a bag with two cameras, one of them twice, depth in two forms, and an idle camera."""
    depth = np.full((4, 4), 900, np.uint16)
    packed = raw_compressed(np.zeros(20, np.uint8), '16UC1; compressedDepth png')
    nothing: list[bytes] = []
    return write_bag(
        path,
        {
            '/front/image': (IMAGE, [raw_image(red_until(2), 'rgb8')] * 3),
            '/front/image/compressed': (COMPRESSED, [raw_file(red_until(2), '.png')] * 3),
            '/rear/compressed': (COMPRESSED, [raw_file(red_until(5), '.png')] * 2),
            '/front/depth': (IMAGE, [raw_image(depth, '16UC1')]),
            '/front/depth/compressedDepth': (COMPRESSED, [packed]),
            '/idle/image': (IMAGE, nothing),
        },
    )


def labelled(bag: Path) -> list[str]:
    """Return the topics with label images."""
    return sorted({topic for topic, *_ in content(bag) if topic.endswith('label_image')})


def test_without_a_topic_each_camera_is_labelled_once(run: Command, tmp_path: Path) -> None:
    code, out, err = run(robot(tmp_path / 'in'), tmp_path / 'out', *WORDS)
    assert code == 0
    assert '3 images of /front/image, 2 images of /rear/compressed labelled' in out
    assert labelled(tmp_path / 'out') == [
        '/zegclip/front/image/label_image',
        '/zegclip/rear/compressed/label_image',
    ]
    assert '/front/image/compressed is left out, as it carries the images of /front/image' in err
    assert '/front/depth is left out, as 16UC1 looks like depth' in err
    assert '/front/depth/compressedDepth is left out' in err
    for topic, column in (('front/image', 2), ('rear/compressed', 5)):
        for _, label in on_topic(tmp_path / 'out', f'/zegclip/{topic}/label_image'):
            assert pixels_of(label)[0].tolist() == [0] * column + [255] * (16 - column)
        for name in ('active_vocabulary', 'label_info'):
            assert len(list(on_topic(tmp_path / 'out', f'/zegclip/{topic}/{name}'))) == 1


@pytest.mark.parametrize(
    ('options', 'topics'),
    [
        (('--topic', '/front/image', '--topic', 'rear/compressed'), 'front/image rear/compressed'),
        (('--topic', '/*/compressed'), 'front/image/compressed rear/compressed'),
        (('--topic', 'front/image*'), 'front/image front/image/compressed'),
        (('--topic', '/front/imag?', '--topic', '/[r]ear/*'), 'front/image rear/compressed'),
        (('--topic', '/rear/compressed'), ''),
        (('--topic', '/r*'), ''),
    ],
)
def test_topics_are_named_or_fitted(
    run: Command, tmp_path: Path, options: tuple[str, ...], topics: str
) -> None:
    code, _, err = run(robot(tmp_path / 'in'), tmp_path / 'out', *WORDS, *options)
    assert (code, err) == (0, '')
    expected = sorted(f'/zegclip/{topic}/label_image' for topic in topics.split())
    assert labelled(tmp_path / 'out') == (expected or ['/zegclip/label_image'])


def test_depth_alone_is_no_camera(run: Command, tmp_path: Path) -> None:
    depth = raw_image(np.ones((4, 4), np.float32), '32FC1')
    source = write_bag(tmp_path / 'in', {'/depth': (IMAGE, [depth])})
    _, _, err = run(source, tmp_path / 'out', *WORDS)
    assert 'error: Expected a topic with images of a camera' in err


def test_images_of_one_moment_do_not_share_labels(run: Command, tmp_path: Path) -> None:
    """Of two cameras whose messages have one time, also where one is an image of the other."""
    images = [raw_image(red_until(3), 'rgb8')]
    source = camera_bag(tmp_path / 'in', more=['/left', '/right'])
    write_bag(tmp_path / 'b', {'/left': (IMAGE, images), '/right': (IMAGE, images)})
    for bag, count in ((source, 18), (tmp_path / 'b', 2)):
        out = tmp_path / f'{bag.name}_out'
        assert run(bag, out, *WORDS)[0] == 0
        assert sum(topic.endswith('label_image') for topic, *_ in content(out)) == count


@pytest.mark.parametrize('more', [(), ('/rear/image',)])
def test_labels_of_an_earlier_run_are_never_labelled(
    run: Command, tmp_path: Path, more: tuple[str, ...]
) -> None:
    everything = ('--overlay', '--confidence', '--masks')
    run(camera_bag(tmp_path / 'in', more=more), tmp_path / 'a', *WORDS, *everything)
    code, _, err = run(tmp_path / 'a', tmp_path / 'b', *WORDS, '--prefix', '/again')
    assert (code, err) == (0, '')
    assert len([name for name in labelled(tmp_path / 'b') if '/again' in name]) == 1 + len(more)
    own = f'/zegclip{"/rear/image" if more else ""}/overlay'
    line = refused(run(tmp_path / 'a', tmp_path / 'c', *WORDS, '--prefix', '/x', '--topic', own))
    assert 'that is what an earlier labelling has added' in line
    pattern = ('--topic', '/*')
    assert run(tmp_path / 'a', tmp_path / 'd', *WORDS, '--prefix', '/x', *pattern)[0] == 0
    assert len([name for name in labelled(tmp_path / 'd') if '/x/' in name]) == 1 + len(more)


def test_a_camera_of_which_no_image_can_be_read_costs_no_other(
    run: Command, tmp_path: Path
) -> None:
    bad = [raw_compressed(np.zeros(3, np.uint8), 'jpeg')] * 2
    source = write_bag(
        tmp_path / 'in',
        {'/bad': (COMPRESSED, bad), '/good': (IMAGE, [raw_image(red_until(1), 'rgb8')])},
    )
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert (code, '0 images of /bad, 1 images of /good labelled' in out) == (2, True)
    assert '2 could not be read' in out
    assert 'Cannot read the image of /bad' in err


def test_every_counts_for_each_camera(run: Command, tmp_path: Path) -> None:
    source = camera_bag(tmp_path / 'in', more=['/rear'])
    code, out, _ = run(source, tmp_path / 'out', *WORDS, '--every', 4)
    assert (code, '2 images of /camera/image, 2 images of /rear labelled' in out) == (0, True)


@pytest.mark.parametrize(
    ('names', 'below'),
    [
        # Each as other recorders write it: ROS allows letters, digits and _ alone.
        (('/cam-1/image', '/rear/image'), ('/cam_1/image', '/rear/image')),
        (('/cam-1/image', '/cam_1/image'), ('/cam_1/image_2', '/cam_1/image')),
        (('/camera/0/image', '/camera/1/image'), ('/camera/_0/image', '/camera/_1/image')),
        (('front/image', 'rear/image'), ('/front/image', '/rear/image')),
        (('/前/image', '/后/image'), ('/u524d/image', '/u540e/image')),
        (('/left camera', '//right.camera/'), ('/left_camera', '/right_camera')),
    ],
)
def test_cameras_whose_names_ros_does_not_allow_have_topics_that_it_does(
    run: Command, tmp_path: Path, names: tuple[str, str], below: tuple[str, str]
) -> None:
    images = {name: [raw_image(red_until(place), 'rgb8')] for place, name in enumerate(names, 3)}
    source = write_bag(tmp_path / 'in', {name: (IMAGE, found) for name, found in images.items()})
    code, out, err = run(source, tmp_path / 'out', *WORDS)
    assert code == 0, err
    for place, topic in enumerate(below, 3):
        ((_, label),) = on_topic(tmp_path / 'out', f'/zegclip{topic}/label_image')
        assert (pixels_of(label)[0] == 0).sum() == place
    for name, topic in zip(names, below, strict=True):
        said = f'{name} is no name that ROS allows: its labels are below /zegclip{topic}.'
        assert (said in err) == (topic.strip('/') != name.strip('/'))
    # Each can be named as it stands in the bag, and is not labelled again.
    assert run(source, tmp_path / 'one', *WORDS, '--topic', names[0])[0] == 0
    code, out, _ = run(tmp_path / 'out', tmp_path / 'again', *WORDS, '--prefix', '/second')
    assert (code, out.count('1 images of')) == (0, 2)
