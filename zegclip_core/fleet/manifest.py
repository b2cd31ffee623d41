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
"""The manifest: a row for each topic of each bag, as CSV or Parquet."""

from collections.abc import Iterable, Sequence
import csv
import io
import json
import os
from pathlib import Path
from typing import Any, Final

from zegclip_core.errors import BagError
from zegclip_core.fleet.work import Outcome

COLUMNS: Final = (
    *('bag', 'output', 'state', 'reason', 'topic', 'frames', 'unreadable', 'seconds'),
    *('shares', 'unlabelled', 'model', 'words', 'settings'),
)
"""Of these frames and unreadable are counts, shares and settings JSON, seconds the time between
the first labelled image and the last, and unlabelled the share of pixels without a class."""


def rows(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Return the rows, sorted by bag and topic; a bag that failed has one without a topic."""
    found = [row for one in outcomes for row in _rows(one)]
    return sorted(found, key=lambda row: (row['bag'], row['topic']))


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    settings = dict(outcome.note.get('settings', {}))
    common = {
        'bag': outcome.task.source,
        'output': '' if outcome.state == 'failed' else outcome.task.target,
        'state': outcome.state,
        'reason': outcome.reason,
        'model': settings.pop('--model', ''),
        'words': settings.pop('--classes', ''),
        'settings': json.dumps(settings, ensure_ascii=False),
    }
    nothing: dict[str, Any] = {'topic': '', 'frames': 0, 'unreadable': 0, 'seconds': 0.0}
    return [
        {**common, **{name: one[name] for name in nothing}, **_shares(one)}
        for one in outcome.note.get('topics', [{**nothing, 'pixels': {}}])
    ]


def _shares(topic: dict[str, Any]) -> dict[str, Any]:
    """Return the shares of the classes in the pixels of a topic, as JSON, and that of no class."""
    pixels = topic['pixels']
    total = sum(pixels.values()) or 1
    shares = {name: round(count / total, 6) for name, count in sorted(pixels.items())}
    unlabelled = shares.pop('', 0.0)
    return {'shares': json.dumps(shares, ensure_ascii=False), 'unlabelled': unlabelled}


def check_manifest(path: Path) -> None:
    """Raise a ``BagError`` if a manifest cannot be written in the format that its name says."""
    if path.suffix not in {'.csv', '.parquet'}:
        raise BagError(f'Expected --manifest to end in .csv or .parquet, but got {path}.')
    if path.suffix == '.parquet':
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise BagError(
                'Expected pyarrow to be installed for a Parquet file: pip install '
                "'zegclip-ros[ray]', or name a .csv file."
            ) from error


def write_manifest(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the manifest in place of an older one; it is whole at any time.

    Raises:
        OSError: If there is no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    if path.suffix == '.csv':
        partial.write_text(_csv(rows(outcomes)), encoding='utf-8')
    else:
        _write_parquet(partial, rows(outcomes))
    partial.replace(path)


def _csv(found: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def _write_parquet(path: Path, found: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = {
        'frames': pyarrow.int64(),
        'unreadable': pyarrow.int64(),
        'seconds': pyarrow.float64(),
        'unlabelled': pyarrow.float64(),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    parquet.write_table(pyarrow.Table.from_pylist(found, schema), path)
