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
"""The segmentation node: a camera and a few words in, labels and masks out."""

from collections.abc import Callable, Sequence
import logging
import sys
import time
import traceback

from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from zegclip_core.errors import VocabularyError, ZegCLIPError
from zegclip_core.threads import wait_without_spinning
from zegclip_core.vocabulary import Vocabulary
from zegclip_ros.frame_worker import FrameWorker
from zegclip_ros.image_input import ImageInput
from zegclip_ros.labeller import Labeller, SegmenterLike
from zegclip_ros.outputs import Outputs
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.rejections import RejectionLog
from zegclip_ros.runtime import RosLogHandler, run_node, RunnableNode
from zegclip_ros.topic_names import topic_tokens
from zegclip_ros.vocabulary_state import VocabularyState, Words

STOP_TIMEOUT = 3.0
"""Seconds that a frame in work, or a model that is being loaded, gets at the end."""

VOCABULARY_QOS = QoSProfile(
    depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE
)
ACTIVE_VOCABULARY_QOS = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


def load_segmenter(parameters: NodeParameters) -> SegmenterLike:
    """Load the model that the parameters name.

    Raises:
        ZegCLIPError: If it cannot be loaded; one line says why.
    """
    wait_without_spinning()
    from zegclip_core.segmenter import Segmenter  # Takes seconds: it imports PyTorch.

    return Segmenter.load(
        parameters.model,
        device=parameters.device,
        precision=parameters.precision,
        short_side=parameters.short_side or None,
    )


class SegmentationNode(RunnableNode):
    """Labels every pixel of a camera's frames with a class of the vocabulary.

    One frame is in work at a time, in a thread of its own, where the model is loaded as well;
    frames that come meanwhile are dropped but for the newest. Every output carries the header of
    its image, and nothing is computed that nobody listens to.

    Subscribed topics:
        ``image`` (``sensor_msgs/msg/Image``, depth 1, reliability of the camera): Any encoding
        of 8-bit colour or grey, and what cv_bridge converts.
        ``vocabulary`` (``std_msgs/msg/String``, reliable, depth 10): The words to look for; see
        ``zegclip_core.vocabulary.Vocabulary.parse``. The last good ones stay if it is refused.

    Published topics:
        ``~/label_image`` (``sensor_msgs/msg/Image``, ``mono8``): Class id of each pixel, 255
        where it is none of the classes.
        ``~/overlay`` (``sensor_msgs/msg/Image``, ``rgb8``): The frame with the classes' colours.
        ``~/masks/<class>`` (``sensor_msgs/msg/Image``, ``mono8``): 255 where the class is.
        ``~/active_vocabulary`` (``std_msgs/msg/String``, transient local): JSON; the classes in
        use with ids and colours, since which frame, and why the last request was refused.

    Parameters:
        See ``zegclip_ros.parameters``.

    Callbacks raise nothing for bad messages: each gives one throttled warning.

    Args:
        load: Loads the model from the parameters; tests give one of their own.

    Raises:
        VocabularyError: If the words to begin with cannot be used.
        ValueError: If a parameter is not one of the allowed words.
        ParameterException: If a parameter has the wrong type or is out of its range.
    """

    def __init__(self, load: Callable[[NodeParameters], SegmenterLike] = load_segmenter) -> None:
        super().__init__('zegclip')
        parameters = NodeParameters.declare(self)
        self._rejections = RejectionLog(self.get_logger().warning)
        self._announcer = self.create_publisher(
            String, '~/active_vocabulary', ACTIVE_VOCABULARY_QOS
        )
        self._state = VocabularyState(lambda text: self._announcer.publish(String(data=text)))
        self._outputs = Outputs(self, parameters.overlay_alpha)
        self._retire = self.create_guard_condition(self._close_unused_masks)
        self._forward_library_logs()
        words = parameters.vocabulary()
        if words is not None:
            self._use(words)
        self._state.announce()
        self._worker = FrameWorker(
            Labeller(lambda: load(parameters), self._state, self._outputs, self)
        )
        self.add_post_set_parameters_callback(self._on_parameters_set)
        self._input = ImageInput(self, parameters.image_reliability, self._worker.submit)
        self._words_input = self.create_subscription(
            String, 'vocabulary', self._on_vocabulary, VOCABULARY_QOS
        )
        self.get_logger().info(f'Loading the model {parameters.model}.')
        self._began = time.monotonic()
        self._worker.start()

    def _use(self, vocabulary: Vocabulary) -> None:
        """Have frames labelled with a vocabulary as soon as the worker gets to it.

        Raises:
            VocabularyError: If two classes have one topic name.
        """
        topics = self._outputs.masks.provide(topic_tokens(vocabulary.names))
        self._state.request(Words(vocabulary, topics))

    def _on_vocabulary(self, message: String) -> None:
        """Take over the words of a message or say why not."""
        try:
            self._use(Vocabulary.parse(message.data))
        except VocabularyError as error:
            self._state.refuse(message.data, error)
            self._rejections.report('vocabulary', error)
        else:
            self._worker.wake()

    def _on_parameters_set(self, parameters: list[Parameter]) -> None:
        """Take over what may change while the node runs."""
        for parameter in parameters:
            if parameter.name == 'overlay_alpha':
                self._outputs.overlay_alpha = parameter.value

    def _close_unused_masks(self) -> None:
        self._outputs.masks.close_others(self._state.topics_in_use())

    def _forward_library_logs(self) -> None:
        self._log_handler = RosLogHandler(self)
        library = logging.getLogger('zegclip_core')
        library.addHandler(self._log_handler)
        library.setLevel(logging.INFO)

    def model_ready(self) -> None:
        """Log that frames are labelled from now on."""
        self.get_logger().info(f'The model is ready after {time.monotonic() - self._began:.1f} s.')

    def model_failed(self, error: Exception) -> None:
        """End the node with exit code 1."""
        if isinstance(error, ZegCLIPError):
            self.get_logger().fatal(str(error))
        else:
            text = ''.join(traceback.format_exception(error)).rstrip()
            self.get_logger().fatal(f'The model cannot be loaded: {text}')
        self.end(1)

    def words_changed(self) -> None:
        """Have the publishers of masks that left closed by the executor."""
        self._retire.trigger()

    def message_rejected(self, what: str, error: Exception) -> None:
        """Log once in a while that a message cannot be used."""
        self._rejections.report(what, error)

    def frame_failed(self, error: Exception) -> None:
        """Log once in a while that a frame came to nothing, unless it is because of the end."""
        if self.context.ok():
            fault = RuntimeError(f'{type(error).__name__}: {error}')
            self._rejections.report('frame', fault)
            self.get_logger().debug(''.join(traceback.format_exception(error)))

    def close(self) -> bool:
        """Stop the worker and destroy the node; return whether the worker ended in time."""
        stopped = self._worker.stop(STOP_TIMEOUT)
        logging.getLogger('zegclip_core').removeHandler(self._log_handler)
        return stopped and super().close()


def main(args: Sequence[str] | None = None) -> int:
    """Run the segmentation node; return its exit code."""
    return run_node(SegmentationNode, args)


if __name__ == '__main__':
    sys.exit(main())
