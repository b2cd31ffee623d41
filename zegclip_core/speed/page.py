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
"""What a benchmark found, as a page."""

from pathlib import Path
import tempfile

from zegclip_core.images.page import Page
from zegclip_core.speed.report import Report, save_plots


def benchmark_page(report: Report) -> Page:
    """Return tables, plots and remarks of a run."""
    page = Page(f'Speed of {report.model}')
    page.text(f'{report.setting()}; {report.seconds / 60:.1f} minutes.')
    page.table(report.cells())
    for remark in report.remarks():
        page.text(remark)
    if len({row.case for row in report.rows}) > 1:  # Of a single case there is nothing to plot.
        page.heading('By classes, prompts, size and batch')
        with tempfile.TemporaryDirectory() as folder:
            for path in save_plots(report, Path(folder)):
                page.picture(path)
    for name, rows in report.bundled.items():
        page.heading(f'everyday-s: {name}')
        page.table(rows)
    return page
