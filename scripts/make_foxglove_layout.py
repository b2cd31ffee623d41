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
"""Make foxglove/zegclip.json: the node's topics in Foxglove, as a layout that it imports.

Panels and their settings are those of foxglove-sdk, which knows their names and types; the file
has the form that the app exports, so that older versions and Lichtblick take it as well.
"""

import json
from pathlib import Path
from typing import Any

from foxglove import layouts

TARGET = Path(__file__).resolve().parents[1] / 'foxglove' / 'zegclip.json'
NODE = 'zegclip'
PANEL_NAMES = {'DiagnosticsSummary': 'DiagnosticSummary'}
"""What the app calls a panel, where the SDK has another name."""
SERIES = {'input rate [Hz]': '#4e98e2', 'output rate [Hz]': '#f5774d'}
"""What is plotted, by the key of the diagnostics, and in which colour."""


def rate(key: str, color: str) -> layouts.PlotSeries:
    """Return a number of the node's diagnostics over time."""
    path = (
        f'/diagnostics.status[:]{{name=="{NODE}: segmentation"}}.values[:]{{key=="{key}"}}.value'
    )
    return layouts.PlotSeries(
        value=path, label=key, enabled=True, color=color, timestamp_method='receiveTime'
    )


def panels() -> dict[str, layouts.BasePanel]:
    """Return the panels by the last part of their ids."""
    return {
        'overlay': layouts.ImagePanel(
            title='overlay',
            config=layouts.ImageConfig(
                image_mode=layouts.ImageModeConfig(image_topic=f'/{NODE}/overlay/compressed')
            ),
        ),
        'labels': layouts.ImagePanel(
            title='label image: the id of each pixel',
            config=layouts.ImageConfig(
                image_mode=layouts.ImageModeConfig(
                    image_topic=f'/{NODE}/label_image',
                    color_mode='colormap',
                    color_map='turbo',
                    min_value=0,
                    max_value=20,
                )
            ),
        ),
        'words': layouts.PublishPanel(
            title='words',
            config=layouts.PublishConfig(
                topic_name='/vocabulary',
                datatype='std_msgs/msg/String',
                button_text='Look for these words',
                button_tooltip='They hold until others are sent.',
                advanced_view=True,
                value=json.dumps({'data': 'person, chair, cup'}, indent=2),
            ),
        ),
        'answer': layouts.RawMessagesPanel(
            title='words in force',
            config=layouts.RawMessagesConfig(topic_path=f'/{NODE}/active_vocabulary.data'),
        ),
        'rates': layouts.PlotPanel(
            title='frames a second',
            config=layouts.PlotConfig(
                paths=[rate(key, color) for key, color in SERIES.items()],
                min_y_value=0,
                show_legend=True,
                legend_display='floating',
                is_synced=True,
                x_axis_val='timestamp',
                following_view_width=60,
            ),
        ),
        'health': layouts.DiagnosticsSummaryPanel(
            config=layouts.DiagnosticsSummaryConfig(
                topic_to_render='/diagnostics', min_level=0, sort_by_level=True, pinned_ids=[]
            )
        ),
    }


def exported() -> dict[str, Any]:
    """Return the layout as the app exports one: settings by panel, and a tree of halves."""
    configs, ids = {}, {}
    for name, panel in panels().items():
        # Through JSON, as the SDK writes it.
        written = json.loads(panel.to_json())
        kind = written['panelType']
        ids[name] = f'{PANEL_NAMES.get(kind, kind)}!{name}'
        title = {'foxglovePanelTitle': written['title']} if 'title' in written else {}
        configs[ids[name]] = {**title, **written['config']}

    def halves(direction: str, first: object, second: object, percentage: int) -> dict[str, Any]:
        parts = {'first': first, 'second': second, 'splitPercentage': percentage}
        return {'direction': direction, **parts}

    images = halves('column', ids['overlay'], ids['labels'], 65)
    words = halves('column', ids['words'], ids['answer'], 45)
    health = halves('column', ids['rates'], ids['health'], 55)
    return {
        'configById': configs,
        'globalVariables': {},
        'userNodes': {},
        'playbackConfig': {'speed': 1},
        'layout': halves('row', images, halves('column', words, health, 45), 65),
    }


def main() -> None:
    """Write the file."""
    TARGET.parent.mkdir(exist_ok=True)
    text = json.dumps(exported(), indent=2)
    TARGET.write_text(f'{text}\n', encoding='utf-8')


if __name__ == '__main__':
    main()
