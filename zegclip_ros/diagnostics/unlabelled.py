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
"""Why images arrive and none is labelled, and what to do about it."""

ENCODING = 'wrong encoding'
"""Cause of a refused image whose encoding, or kind of file, is not read."""
_TEXTS = {
    'bad image': 'each is refused: {reason} Check the driver of the camera and the network.',
    ENCODING: '{reason} Have the driver of the camera send one of these, or convert it between.',
    'no words': 'there are no words to look for. Publish some on the topic vocabulary, or set the '
    'parameter class_names.',
    'newer frame': 'the model is far slower than the camera, and newer images replace those that '
    'wait. Lower short_side, ask for fewer words or for candidates, or take a GPU.',
    'out of memory': 'the device is out of memory. Lower short_side, or free the device.',
    'fault': 'the work on each fails: {reason} The log says more.',
}
"""By what an image was dropped for, what to say; ``{reason}`` is the newest error."""
_BUSY = 'the model is still at work on one. Lower short_side, or take a faster device.'


def unlabelled_text(topic: str, seconds: float, cause: str, reason: str) -> str:
    """Return what is wrong where no image of a camera is labelled.

    Args:
        topic: The topic of the images.
        seconds: How long none has been.
        cause: What the last image was dropped for, of ``DROPS`` or ``ENCODING``; ``''`` if none
            was dropped.
        reason: The error of the last one; ``''`` if there was none.
    """
    known = _TEXTS.get(cause, _BUSY)
    why = known.format(reason=reason if reason.endswith('.') else f'{reason}.')
    return f'No image on {topic} was labelled for {seconds:.0f} s: {why}'


def unknown_words_text(warning: str) -> str:
    """Return what is wrong where the model cannot know the words that are in use."""
    return f'Words may find nothing: {warning}'
