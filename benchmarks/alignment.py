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
"""Towers that were not trained together, and words that nobody taught them.

A linear map from the image tower's features to the text embeddings is fitted on some words and
asked for others. Run it by ``python -m benchmarks.alignment``; ``docs/results.md`` says what comes
of it. The first run computes features, which takes minutes; they are kept for the next.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from benchmarks.ablation_matrix import Matrix
from benchmarks.alignment_features import load_regions, Regions
from benchmarks.alignment_report import (
    COUNTS,
    draw,
    figures_of,
    page_text,
    random_row,
    Row,
    split_rows,
    strength_table,
    table_of,
    UNSEEN,
)
from benchmarks.reports import write_docs, write_json
from zegclip_core.errors import ZegCLIPError
from zegclip_core.training.config import load_config, TrainConfig

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'results.md'
CHART = 'results-alignment.png'
SPLITS = ('camvid-5', 'joint-5')
"""Configurations whose unseen words are asked for; the last one says which towers."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.alignment',
        description='Fit image features to text embeddings on some words, and ask for others.',
    )
    add = parser.add_argument
    add(
        '--data',
        type=Path,
        action='append',
        metavar='DIR',
        help='folder of pictures, several times for several (default: those of joint-5.yaml)',
    )
    add('--out', type=Path, default=Path('runs/alignment'), help='folder (default: %(default)s)')
    add('--configs', type=Path, default=Matrix.configs, help='folder (default: %(default)s)')
    add('--write-docs', action='store_true', help='put tables and chart into docs/results.md')
    return parser


def roots_of(config: TrainConfig) -> list[Path]:
    """Return the folders that a configuration trains on."""
    return [Path(source.root) for source in config.train]


def rows_of(regions: Regions, configs: Sequence[TrainConfig]) -> list[Row]:
    """Return the rows of the splits, each dataset's alone with random words beside it.

    Args:
        regions: The regions of all datasets.
        configs: Where unseen words are named; one whose datasets are not all there is left out.

    """
    rows: list[Row] = []
    for config in configs:
        titles = [root.name for root in roots_of(config)]
        if not set(titles) <= set(regions.titles):
            continue
        own = regions.only(titles)
        found = list(split_rows(own, config))
        rows += found
        if len(titles) == 1 and found:
            rows.append(random_row(own, found[0].seen, found[0].unseen))
    return rows


def run(options: argparse.Namespace) -> None:
    """Compute, print and write everything.

    Raises:
        ZegCLIPError: If data, towers or configurations cannot be used.
    """
    configs = [load_config(options.configs / f'{name}.yaml') for name in SPLITS]
    roots = options.data or roots_of(configs[-1])
    regions = load_regions(roots, configs[-1].towers, options.out)
    curve = [random_row(regions, seen, UNSEEN) for seen in COUNTS]
    rows = [*curve, *rows_of(regions, configs)]
    write_json(options.out / 'alignment.json', figures_of(rows))
    draw(curve, options.out / CHART)
    print(table_of(rows), strength_table(rows), sep='\n\n')
    if options.write_docs:
        draw(curve, PAGE.parent / 'images' / CHART)
        write_docs('alignment', page_text(rows, CHART), PAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return 0 if it was finished.

    Args:
        arguments: Those of the command line; ``None`` takes those of the process.

    """
    options = build_parser().parse_args(arguments)
    try:
        run(options)
    except ZegCLIPError as error:
        print(f'alignment: error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
