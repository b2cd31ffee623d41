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
"""The segmentation node: a camera and words in, labels, masks and overlays out."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
import logging
import threading
import time
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import SetBool
from zegclip_core.errors import VocabularyError
from zegclip_core.messages.outputs import ACTIVE_VOCABULARY, MASKS
from zegclip_core.messages.topic_names import output_topic, topic_tokens
from zegclip_core.text.vocabulary import Vocabulary
from zegclip_ros.diagnostics.health import DIAGNOSTICS_INTERVAL, diagnostics_of, Health
from zegclip_ros.diagnostics.monitor import Monitor
from zegclip_ros.frames.camera_outputs import LAST_MESSAGE_QOS
from zegclip_ros.frames.labelled_frame import OutputStyle
from zegclip_ros.frames.pipeline import Pipeline
from zegclip_ros.parameters import (
    BY_NAME,
    camera_names,
    DECLARATIONS,
    descriptions,
    NodeParameters,
)
from zegclip_ros.runtime.managed_node import ManagedNode
from zegclip_ros.runtime.runner import (
    LONGEST_TOPIC,
    RCLError,
    RosLogHandler,
    run_process,
    STOP_TIMEOUT,
)
from zegclip_ros.segmenter_like import load_segmenter, SegmenterLike
from zegclip_ros.vocabulary_state import MaskTopics, VocabularyState

FRAME_TIMEOUT = 10.0
"""Seconds that the frame in work gets when the node is deactivated."""
SUBSCRIPTION_INTERVAL = 0.1
"""Seconds between two looks at who listens, which decides what the node subscribes to."""
REQUESTED_ANEW = {
    *('overlay_palette', 'max_mask_topics', 'cameras', 'threshold', 'negatives', 'stable_ids')
}
"""Parameters whose change takes effect by requesting the same words again."""


class SegmentationNode(ManagedNode):
    """Labels every pixel of a camera's frames with a class of the vocabulary.

    ``docs/node.md`` describes topics, parameters, lifecycle and diagnostics; a test compares it
    with this node. ``docs/architecture.md`` follows a frame through it. Callbacks raise nothing
    for bad messages: each kind of fault gives one throttled warning.

    Args:
        load: Loads the model that the parameters name; tests give one of their own.
    """

    def __init__(self, load: Callable[[NodeParameters], SegmenterLike] = load_segmenter) -> None:
        super().__init__('zegclip')
        self._load = load
        try:
            parameters = NodeParameters.declare(self)
        except Exception:
            # Its callbacks refer to it, so that it would live on beside the next node.
            self.destroy_node()
            raise
        self._monitor = Monitor(self.get_logger().warning)
        announcer = self.create_publisher(String, f'~/{ACTIVE_VOCABULARY}', LAST_MESSAGE_QOS)
        self._state = VocabularyState(
            lambda text: announcer.publish(String(data=text)),
            lambda: self.get_clock().now().nanoseconds / 1e9,
            parameters.camera_names,
        )
        self._state.announce()
        self._style = OutputStyle.of(parameters)
        self._enabled = True
        self._pipeline: Pipeline | None = None
        # Words that come while a pipeline is made would else reach neither it nor its beginning.
        self._requesting = threading.RLock()
        self._log_handler = RosLogHandler(self)
        library = logging.getLogger('zegclip_core')
        library.addHandler(self._log_handler)
        library.setLevel(logging.INFO)
        self._connect()
        if parameters.autostart:
            self.autostart()

    def _connect(self) -> None:
        """Create what exists in every lifecycle state."""
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.add_post_set_parameters_callback(self._on_parameters_set)
        # Mask topics are closed by the executor, whichever thread finds that words have left.
        self._words_left = self.create_guard_condition(self._close_unused_masks)
        self._words_input = self.create_subscription(String, 'vocabulary', self._on_vocabulary, 10)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # Not the node's clock: a simulated one may stand still, and this has to go on.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SUBSCRIPTION_INTERVAL, self._update_subscriptions, clock=clock)
        self.create_timer(DIAGNOSTICS_INTERVAL, self._publish_diagnostics, clock=clock)

    # Lifecycle

    def configure(self) -> None:
        """Load the model, run it once, and encode the words."""
        parameters = NodeParameters.read(self)
        began = time.monotonic()
        with self._requesting:
            # First words that cannot be used are no fault once others were said.
            vocabulary = parameters.vocabulary() if self._state.newest is None else None
            if vocabulary is not None:
                self._use(vocabulary)
        self.get_logger().info(f'Loading the model {parameters.model}.')
        with self._requesting:
            self._pipeline = Pipeline(
                self,
                parameters,
                self._load,
                self._state,
                self._style,
                self._monitor,
                self._words_left.trigger,
            )
        self._pipeline.load(self.wait_for)
        self.get_logger().info(f'The model is ready after {time.monotonic() - began:.1f} s.')

    def activate(self) -> None:
        """Label frames from now on."""
        self._monitor.restart()
        self._enabled = True
        if self._pipeline is not None:
            self._pipeline.start()

    def deactivate(self) -> None:
        """Label no frames any more, and free the memory that only frames need."""
        if self._pipeline is not None:
            self._pipeline.stop(self._wait_for_frame)

    def cleanup(self) -> None:
        """Release the model and all outputs; the words are kept for the next model."""
        pipeline = self._pipeline
        if pipeline is None:
            return
        pipeline.unload(self._wait_for_frame)
        pipeline.stop_threads(FRAME_TIMEOUT)
        self._pipeline = None
        pipeline.close()
        self._state.retire()

    def on_fault(self, text: str) -> None:
        """Record it for the diagnostics."""
        self._monitor.note(text)

    def _wait_for_frame(self, future: 'Future[None]') -> None:
        self.wait_for(future, FRAME_TIMEOUT)

    def close(self) -> bool:
        """Stop the threads; return whether they ended in time."""
        self.ended.set()
        logging.getLogger('zegclip_core').removeHandler(self._log_handler)
        return self._pipeline is None or self._pipeline.stop_threads(STOP_TIMEOUT)

    def _on_enable(self, request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        """Pause or resume labelling; the model stays loaded."""
        pipeline = self._pipeline
        if pipeline is None or self.state != 'active':
            answer.message = (
                f'Expected the node to be active, but it is {self.state}: activate it first.'
            )
            return answer
        self._enabled = request.data
        (pipeline.start if request.data else pipeline.pause)()
        self._update_subscriptions()
        answer.success = True
        answer.message = 'Images are labelled.' if request.data else 'Paused; the model is kept.'
        return answer

    # Words

    def _use(self, vocabulary: Vocabulary) -> None:
        """Request that frames are labelled with a vocabulary; every request passes here."""
        with self._requesting:
            topics = self._mask_topics(vocabulary, self._value('cameras'))
            numbered = self._numbered(vocabulary, stable=self._value('stable_ids'))
            pipeline = self._pipeline
            if pipeline is not None:
                pipeline.provide_masks(topics)
            painted = numbered.painted(self._value('overlay_palette'))
            self._state.accept(painted, topics, vocabulary)
            if pipeline is not None:
                pipeline.encode_words()

    def _numbered(self, vocabulary: Vocabulary, *, stable: bool) -> Vocabulary:
        """Return words with the ids that stay, if they are to; else as they are."""
        return self._state.with_kept_ids(vocabulary) if stable else vocabulary

    def _mask_topics(self, vocabulary: Vocabulary, cameras: Sequence[str] | None) -> MaskTopics:
        """Return where masks are published; two alike or one too long is a ``VocabularyError``."""
        tokens, most = topic_tokens(vocabulary.names), self._value('max_mask_topics')
        topics: dict[str, list[str | None]] = {}
        for camera in camera_names(cameras):
            names = [output_topic(camera, f'{MASKS}/{token}') for token in tokens[:most]]
            nowhere = [None] * len(tokens[most:])
            topics[camera] = [self._resolve_mask(name) for name in names] + nowhere
        return topics

    def _resolve_mask(self, topic: str) -> str:
        """Return the full name of a mask topic."""
        try:
            return self.resolve_topic_name(topic)
        except RCLError:
            raise VocabularyError(
                f'Expected mask topics of at most {LONGEST_TOPIC} characters with the namespace, '
                f'but got {topic[:300]!r}.'
            ) from None

    def _on_vocabulary(self, message: String) -> None:
        """Use the words of a message, or report why they cannot be used."""
        try:
            self._use(Vocabulary.parse(message.data))
        except VocabularyError as error:
            self._refuse(message.data, error)

    def _refuse(self, text: str, error: VocabularyError) -> None:
        self._state.refuse(text, error)
        self._monitor.reject('vocabulary', error)

    def _close_unused_masks(self) -> None:
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.close_unused_masks()

    # Parameters

    def _value(self, name: str) -> Any:  # noqa: ANN401 - any type that ROS has
        return self.get_parameter_or(name).value

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse values that cannot be used, and changes that would have no effect now."""
        try:
            given = {parameter.name: parameter.value for parameter in parameters}
            for parameter in parameters:
                self._check(parameter, stable=given.get('stable_ids', self._value('stable_ids')))
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check(self, parameter: Parameter, *, stable: bool) -> None:
        """Raise a ``ValueError`` if a parameter cannot have a value.

        ``stable`` tells whether words are to keep their ids, once all is set.
        """
        declaration = BY_NAME.get(parameter.name)
        if declaration is None:
            if self.has_parameter(parameter.name):
                return
            raise ValueError(f'Expected a known parameter, but got {parameter.name!r}.')
        if declaration.change == 'unconfigured' and self.state != 'unconfigured':
            raise ValueError(
                f'Expected the node to be unconfigured for a change of {parameter.name}, but it '
                f'is {self.state}: deactivate it and clean it up first.'
            )
        declaration.validate(parameter.value)
        if parameter.name == 'class_names':
            names = parameter.value or ()
            try:
                vocabulary = Vocabulary.from_list(names)
                self._mask_topics(vocabulary, self._value('cameras'))
                self._numbered(vocabulary, stable=stable)
            except VocabularyError as error:
                self._refuse(', '.join(names), error)
                raise
        elif parameter.name == 'cameras' and self._state.newest is not None:
            self._mask_topics(self._state.newest.asked, parameter.value)
        elif parameter.name == 'stable_ids' and self._state.newest is not None:
            self._numbered(self._state.newest.asked, stable=parameter.value)

    def _on_parameters_set(self, parameters: list[Parameter]) -> None:
        """Apply what may change while the node runs."""
        values = {parameter.name: parameter.value for parameter in parameters}
        if 'cameras' in values:
            self._state.use_cameras(camera_names(values['cameras']))
        self._request_anew(values)
        self._style.take(NodeParameters.read(self))
        pipeline = self._pipeline
        if pipeline is not None and 'image_reliability' in values:
            for camera in pipeline.cameras.values():
                camera.set_reliability(values['image_reliability'])

    def _request_anew(self, values: Mapping[str, Any]) -> None:
        """Request words once, however many of the new values concern them."""
        newest = self._state.newest
        if 'class_names' in values:
            vocabulary = Vocabulary.from_list(values['class_names'])
        elif newest is not None and REQUESTED_ANEW & values.keys():
            vocabulary = newest.asked
        else:
            return
        try:
            self._use(vocabulary)
        except VocabularyError as error:  # Such as of values that are wrong only together.
            self._refuse(', '.join(vocabulary.names), error)

    # Timers

    def _update_subscriptions(self) -> None:
        """Subscribe to cameras while their frames are of use."""
        pipeline = self._pipeline
        if pipeline is not None:
            active = self.state == 'active' and self._enabled
            pipeline.update_cameras(active=active, lazy=self._value('lazy'))

    def _publish_diagnostics(self) -> None:
        """Report how the node is."""
        pipeline, words, monitor = self._pipeline, self._state.active, self._monitor
        segmenter = None if pipeline is None else pipeline.labeller.segmenter
        parameters = NodeParameters.read(self)
        health = Health(
            state=self.state,
            enabled=self._enabled,
            model=parameters.model,
            device=parameters.options.device if segmenter is None else segmenter.runs_on,
            version=0 if words is None else words.version,
            classes=0 if words is None else len(words.vocabulary),
            figures=monitor.statistics.snapshot(),
            cameras={} if pipeline is None else pipeline.health(),
            min_rate=parameters.min_rate,
            refusal=self._state.error,
            fault=self.fault,
            memory_fault_seconds=monitor.memory_fault_seconds,
            memory_bytes=None if segmenter is None else segmenter.memory_bytes(),
            last_error=monitor.last_error,
            word_warning='' if words is None else monitor.unknown_words,
        )
        array = diagnostics_of(health, self.get_fully_qualified_name().lstrip('/'))
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the segmentation node and end the process with its exit code."""
    run_process(SegmentationNode, args, descriptions(DECLARATIONS))


if __name__ == '__main__':
    main()
