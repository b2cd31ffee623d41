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
"""What the library raises when a user's input is at fault: one line, fit to be shown."""


class ZegCLIPError(Exception):
    """Base of every error that a user can mend; its text is one line fit to be shown as it is."""

    def __str__(self) -> str:
        """Return the text as one line, also where that of a library in it has several."""
        return ' '.join(line.strip() for line in super().__str__().splitlines())


class UnexpectedError(ZegCLIPError, RuntimeError):
    """The program is at fault; the text is of what nobody has foreseen."""


class VocabularyError(ZegCLIPError, ValueError):
    """A list of classes cannot be used."""


class ImageError(ZegCLIPError, ValueError):
    """An image cannot be read or has the wrong type or shape."""


class EncodingError(ImageError):
    """An image message is whole, but of an encoding or kind of file that is not read."""


class ModelError(ZegCLIPError, ValueError):
    """A model is not known, or a setting does not fit it."""


class BackendError(ModelError):
    """A library other than PyTorch cannot run a model on this machine."""


class DeviceMemoryError(ZegCLIPError, RuntimeError):
    """The device that the model runs on has too little free memory."""


class DeviceLostError(ZegCLIPError, RuntimeError):
    """The device that the model runs on failed so that only a new process can use it again."""


class TowerError(ZegCLIPError, ValueError):
    """A frozen image or text tower cannot be found or does not fit."""


class CheckpointError(ZegCLIPError, ValueError):
    """A checkpoint file is missing, damaged, foreign or does not match its model."""


class DataError(ZegCLIPError, ValueError):
    """A dataset does not lie as expected or holds values it must not hold."""


class ConfigError(ZegCLIPError, ValueError):
    """A configuration has an unknown key or a value that is not allowed."""


class TrainingError(ZegCLIPError, RuntimeError):
    """Training ended before its time: the disk is full, or a process that it needs has died."""


class BagError(ZegCLIPError, ValueError):
    """A recorded bag cannot be read, labelled or written."""


def shortened(text: str, longest: int = 60) -> str:
    """Return a text of at most ``longest`` characters, as an error message quotes it."""
    return text if len(text) <= longest else f'{text[: longest - 3]}...'
