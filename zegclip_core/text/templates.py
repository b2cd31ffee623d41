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
"""Prompt templates: sentences that a phrase is put into before it is encoded.

``{}`` marks the place of the phrase. Averaging over several templates is from Radford et al.,
"CLIP", https://arxiv.org/abs/2103.00020, section 3.1.4.
"""

from collections.abc import Sequence

from zegclip_core.errors import ConfigError
from zegclip_core.options import TEMPLATES

PLAIN = ('{}',)
"""The phrase alone."""

SINGLE = ('a photo of a {}',)
"""What ZegCLIP uses on PASCAL VOC; without a full stop."""

COCO_STUFF = (
    'a photo of a {}.',
    'a photo of a small {}.',
    'a photo of a medium {}.',
    'a photo of a large {}.',
    'This is a photo of a {}.',
    'This is a photo of a small {}.',
    'This is a photo of a medium {}.',
    'This is a photo of a large {}.',
    'a {} in the scene.',
    'a photo of a {} in the scene.',
    'There is a {} in the scene.',
    'There is the {} in the scene.',
    'This is a {} in the scene.',
    'This is the {} in the scene.',
    'This is one {} in the scene.',
)
"""The fifteen that ZegCLIP uses on COCO-Stuff (``multi`` in its code release)."""

EVERYDAY = ('{}', 'a {}', 'a photo of a {}.', 'There is a {} in the scene.')
"""What the bundled model uses: a sentence tower needs fewer."""

_named: dict[str, tuple[str, ...]] = {
    'plain': PLAIN,
    'everyday': EVERYDAY,
    'single': SINGLE,
    'coco_stuff': COCO_STUFF,
}


def template_names() -> tuple[str, ...]:
    """Return every name that ``resolve_templates`` knows."""
    return tuple(sorted({*TEMPLATES, *_named}))


def add_templates(name: str, templates: Sequence[str]) -> None:
    """Make own templates, texts with exactly one ``{}`` each, known by a name.

    Raises:
        ConfigError: If the name is taken by other templates, or a text is not allowed.
    """
    checked = check_templates(templates)
    if name in template_names() and resolve_templates(name) != checked:
        raise ConfigError(
            f'Expected a new name for templates, not one of {", ".join(template_names())}, '
            f'but got {name!r}.'
        )
    _named[name] = checked


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Return templates given by name or as texts.

    Args:
        templates: ``plain``, ``everyday``, ``single``, ``coco_stuff``, ``imagenet`` or a name
            given to ``add_templates``; or the texts themselves, each with exactly one ``{}``, in
            a list or in one string with a line each.

    Raises:
        ConfigError: If the name is not known or a text is not allowed.
    """
    if not isinstance(templates, str):
        return check_templates(templates)
    if '{}' in templates:
        return check_templates([line.strip() for line in templates.strip().splitlines()])
    if templates == 'imagenet':
        # CLIP's eighty, from open_clip, which takes seconds to import and few callers need.
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return tuple(template('{}') for template in OPENAI_IMAGENET_TEMPLATES)
    if templates not in _named:
        raise ConfigError(
            f'Expected templates to be one of {", ".join(template_names())} or texts with one '
            f'{{}} each, but got {templates!r}.'
        )
    return _named[templates]


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return the templates as they are.

    Raises:
        ConfigError: If there are none, or one does not hold exactly one ``{}``.
    """
    if isinstance(templates, str) or not templates:
        raise ConfigError(f'Expected a list of one or more templates, but got {templates!r}.')
    for template in templates:
        if not isinstance(template, str) or template.count('{}') != 1:
            raise ConfigError(
                f'Expected each template to be a text with exactly one {{}}, but got {template!r}.'
            )
    return tuple(templates)


def fill_template(template: str, phrase: str) -> str:
    """Put a phrase, which may itself hold braces, into a template.

    Example:
        >>> fill_template('a photo of a {}.', 'traffic light')
        'a photo of a traffic light.'

    """
    return template.replace('{}', phrase)
