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
"""What the node has while it is configured: cameras, model, threads and outputs."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
import time
import traceback

from sensor_msgs.msg import CompressedImage, Image
from zegclip_core.errors import ImageError
from zegclip_core.messages.topic_names import cloud_topic, image_topic
from zegclip_ros.conversions import check_frame
from zegclip_ros.diagnostics.health import CameraHealth
from zegclip_ros.diagnostics.monitor import Monitor
from zegclip_ros.frames.camera_outputs import Outputs
from zegclip_ros.frames.cloud_size import CloudSize
from zegclip_ros.frames.depth_input import DepthInput
from zegclip_ros.frames.depth_outputs import DepthOutputs
from zegclip_ros.frames.image_input import ImageInput
from zegclip_ros.frames.labelled_frame import OutputStyle
from zegclip_ros.frames.labeller import Arrival, Batch, Labeller
from zegclip_ros.frames.worker import Worker, WorkerStoppedError
from zegclip_ros.parameters import NodeParameters
from zegclip_ros.runtime.managed_node import ManagedNode
from zegclip_ros.segmenter_like import SegmenterLike
from zegclip_ros.vocabulary_state import MaskTopics, VocabularyState

Wait = Callable[[Future], None]
"""Waits for a future for as long as the caller has patience, and raises its error."""


class Pipeline:
    """The way of frames from cameras to outputs; ``docs/architecture.md`` follows a frame.

    One thread labels frames, another one encodes words.

    Attributes:
        cameras: What the node subscribes to, by the names of the cameras; ``''`` is the only one.
        clouds: The clouds of each camera, in case label images are to have their size.
        depths: The depth of each camera's images.
        labeller: Holds the model.

    Args:
        node: The node whose topics these are; it fails if a thread dies.
        words_left: Called when the masks of some words may no longer be needed.
    """

    def __init__(
        self,
        node: ManagedNode,
        parameters: NodeParameters,
        load: Callable[[NodeParameters], SegmenterLike],
        state: VocabularyState,
        style: OutputStyle,
        monitor: Monitor,
        words_left: Callable[[], None],
    ) -> None:
        self._node = node
        self._state = state
        self._monitor = monitor
        self._style = style
        self.cameras: dict[str, ImageInput] = {}
        self.clouds: dict[str, CloudSize] = {}
        self.depths: dict[str, DepthInput] = {}
        self._outputs: dict[str, Outputs] = {}
        transport, reliability = parameters.image_transport, parameters.image_reliability
        try:
            for name in parameters.camera_names:
                monitor.camera(name)  # Before several threads ask for it.
                self.cameras[name] = ImageInput(
                    node, image_topic(name), transport, reliability, partial(self.receive, name)
                )
                self.clouds[name] = CloudSize(
                    node, cloud_topic(name), partial(monitor.reject, 'cloud')
                )
                self.depths[name] = DepthInput(
                    node,
                    name,
                    partial(monitor.reject, 'depth'),
                    partial(self._publish_waiting, name),
                )
                self._outputs[name] = Outputs(node, name, style)
        except Exception:
            self.close()
            raise
        self._depth_outputs = {
            name: DepthOutputs(outputs, self.depths[name])
            for name, outputs in self._outputs.items()
        }
        self.labeller = Labeller(
            node,
            partial(load, parameters),
            state,
            self._outputs,
            self._depth_outputs,
            self.clouds,
            monitor,
            words_left,
        )
        on_errors = (self.labeller.failed, self._thread_died)
        # The newest frame of each camera waits; those that wait are labelled together.
        self._frames: Worker[Batch] = Worker(
            'frame_worker', self.labeller.label, *on_errors, self._merge
        )
        self._words: Worker[bool] = Worker('word_worker', self._encode, *on_errors)

    def load(self, wait: Wait) -> None:
        """Load the model, run it once, and encode the words that wait."""
        for name, outputs in self._outputs.items():
            outputs.provide_masks(sorted(self._state.topics_in_use(name)))
        wait(self._frames.run(self.labeller.load))
        wait(self._words.run(self.labeller.encode_pending))
        self._words.resume()
        self.encode_words()  # Some may have come since.

    def start(self) -> None:
        """Label frames from now on, those like the last ones as fast as before."""
        self._frames.run(self.labeller.prepare_frames)
        self._frames.resume()

    def pause(self) -> None:
        """Label no frames until ``start``, but for the one in work; nothing is freed."""
        self._frames.pause()

    def stop(self, wait: Wait) -> None:
        """Label no frames any more, and free the memory that only frames need."""
        self._frames.pause()
        try:
            wait(self._frames.run(self.labeller.release_memory))
        except Exception:
            self._frames.resume()
            raise

    def unload(self, wait: Wait) -> None:
        """Release the model, in the thread that uses it if that still lives."""
        self._words.pause()
        self._frames.pause()
        try:
            wait(self._frames.run(self.labeller.unload))
        except WorkerStoppedError:
            self.labeller.unload()

    def close(self) -> None:
        """Destroy all topics; the threads have to be at rest."""
        for camera in self.cameras.values():
            camera.close()
        for cloud in self.clouds.values():
            cloud.close()
        for depth in self.depths.values():
            depth.close()
        for outputs in self._outputs.values():
            outputs.close()

    def stop_threads(self, timeout: float) -> bool:
        """End the threads; return whether both ended within so many seconds."""
        end = time.monotonic() + timeout
        words = self._words.stop(timeout)
        return self._frames.stop(max(0.0, end - time.monotonic())) and words

    def _encode(self, _: bool) -> None:
        """Encode the words that wait, and prepare for frames with them in the frames' thread.

        Not while the node is inactive, when it holds no memory that only frames need.
        """
        if self.labeller.encode_pending() and self._node.state == 'active':
            self._frames.run(self.labeller.prepare_frames)

    def _thread_died(self, error: BaseException) -> None:
        """Have the node go to error processing."""
        reason = f'A thread of the node died: {type(error).__name__}: {error}'
        trace = ''.join(traceback.format_exception(error)).rstrip()
        self._node.get_logger().fatal(f'{reason}\n{trace}')
        self._monitor.note(reason)
        self._node.fail(reason)

    def receive(self, camera: str, message: Image | CompressedImage) -> None:
        """Hand an image to the worker; a damaged one does not replace a good one that waits."""
        self._monitor.camera(camera).arrived()
        try:
            check_frame(message)
        except ImageError as error:
            self._monitor.drop_bad_images(error, camera)
            return
        self._frames.submit({camera: Arrival(message)})

    def _publish_waiting(self, camera: str) -> None:
        """Publish what waits for the depth that has come, in the thread of frames."""
        if self._depth_outputs[camera].waits:
            self._frames.run(partial(self.labeller.publish_waiting, camera))

    def _merge(self, waiting: Batch, new: Batch) -> Batch:
        """Return each camera's newest frame, in the place of the one that it replaces."""
        self._monitor.drop('newer frame', *(waiting.keys() & new.keys()))
        return {**waiting, **new}

    def encode_words(self) -> None:
        """Have the words that wait encoded soon."""
        self._words.submit(True)

    def provide_masks(self, topics: MaskTopics) -> None:
        """Create the mask topics that are missing."""
        for name, outputs in self._outputs.items():
            outputs.provide_masks(topics[name])

    def close_unused_masks(self) -> None:
        """Destroy the mask topics of words that are no longer in use."""
        for name, outputs in self._outputs.items():
            outputs.close_other_masks(self._state.topics_in_use(name))

    def update_cameras(self, *, active: bool, lazy: bool) -> None:
        """Subscribe to each camera while the node is active and, if lazy, somebody listens."""
        for name, outputs in self._outputs.items():
            listened = outputs.any_wanted()
            wanted = active and (listened or not lazy)
            self.cameras[name].update(wanted=wanted)
            self.clouds[name].update(wanted=wanted and self._style.output_size == 'cloud')
            with_depth = active and outputs.depth_wanted()
            self.depths[name].update(
                wanted=with_depth,
                needed=outputs.depth_wanted(needed=True),
                tolerance=self._style.depth_tolerance,
            )
            waiting = self._depth_outputs[name]
            if not with_depth and waiting.waits:  # Else they would come with the next frame.
                self._frames.run(waiting.clear)
            self._monitor.camera(name).wanted(active and listened)

    def health(self) -> dict[str, CameraHealth]:
        """Return how each camera is, by its name."""
        return {
            name: self._monitor.camera(name).health(
                one.topic,
                one.subscribed_seconds,
                self.clouds[name].missing or self.depths[name].missing,
            )
            for name, one in self.cameras.items()
        }
