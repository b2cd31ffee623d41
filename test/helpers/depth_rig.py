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
"""The real node over DDS with a camera, depth and their infos, and a crate above a floor."""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from depth_scenes import box, CAMERA, plane
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from ros_helpers import Inbox, qos, Rig, running_rig
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header
from zegclip_core.geometry import Intrinsics
from zegclip_ros.conversions import rgb_to_image

WORDS = ('-p', 'class_names:=["floor", "crate"]', '-p', 'min_area:=20')
FLOOR = plane(CAMERA, (0.0, 1.0, 0.0), 1.2)
FLOOR[FLOOR > 20] = np.nan
LOW, HIGH = (-0.4, 0.2, 2.5), (0.5, 0.9, 3.2)
CRATE = box(CAMERA, LOW, HIGH)
SEEN = np.fmin(CRATE, FLOOR)
"""A crate that hovers over a floor; the sky has no depth."""
ON_CRATE = np.isfinite(CRATE)


KINDS = {PointField.UINT8: '<u1', PointField.UINT16: '<u2', PointField.FLOAT32: '<f4'}


def points_of(cloud: PointCloud2) -> np.ndarray:
    """Return the points by what the message says about its bytes, ``(height, width)``."""
    kind = np.dtype(
        {
            'names': [field.name for field in cloud.fields],
            'formats': [KINDS[field.datatype] for field in cloud.fields],
            'offsets': [field.offset for field in cloud.fields],
            'itemsize': cloud.point_step,
        }
    )
    return np.frombuffer(cloud.data, kind).reshape(cloud.height, cloud.width)


def header(stamp: int, nanosec: int = 0, frame_id: str = 'optical') -> Header:
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = stamp, nanosec
    return made


def photo(stamp: int, scale: int = 1) -> Image:
    """Return the scene as the fake model reads it: red is the class."""
    labels = np.where(ON_CRATE, 1, np.where(np.isfinite(FLOOR), 0, 200)).astype(np.uint8)
    rgb = np.stack([labels, np.full_like(labels, 80), np.full_like(labels, 160)], axis=-1)
    return rgb_to_image(np.kron(rgb, np.ones((scale, scale, 1), np.uint8)), header(stamp))


def depth_image(
    stamp: int,
    nanosec: int = 0,
    encoding: str = '16UC1',
    **changed: Any,  # noqa: ANN401 - fields of any type
) -> Image:
    values = np.nan_to_num(SEEN * 1000).round().astype('<u2')
    if encoding == '32FC1':
        values = SEEN.astype('<f4')
    fields = {
        'height': values.shape[0],
        'width': values.shape[1],
        'step': values.strides[0],
        'encoding': encoding,
        'data': array('B', values.tobytes()),
    }
    return Image(header=header(stamp, nanosec, 'depth'), **{**fields, **changed})


def info(camera: Intrinsics, **changed: Any) -> CameraInfo:  # noqa: ANN401
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return CameraInfo(**{'width': camera.width, 'height': camera.height, 'k': k, **changed})


class DepthRig:
    """A rig with a depth camera."""

    def __init__(self, rig: Rig, output: str, kind: type) -> None:
        self.rig = rig
        rig.until_active('floor', 'crate')
        rig.until_state('active')
        rig.start_camera()
        probe = rig.probe
        self.depth = probe.create_publisher(Image, 'depth', qos())
        self.info = probe.create_publisher(CameraInfo, 'depth/camera_info', qos())
        self.image_info = probe.create_publisher(CameraInfo, 'camera_info', qos())
        self.found = rig.listen(f'zegclip/{output}', kind)
        rig.until_subscribed()
        rig.until(
            lambda: all(
                one.get_subscription_count() and input_.reliability.name == 'RELIABLE'
                for one, input_ in zip(
                    (self.depth, self.info, self.image_info),
                    (self.depth_input._depth, *self.depth_input._infos.values()),
                    strict=True,
                )
            ),
            'the node listens to depth',
        )

    @property
    def depth_input(self) -> Any:  # noqa: ANN401
        return self.rig.node._pipeline.depths['']

    def know(self, camera: Intrinsics = CAMERA) -> None:
        """Have the node know the camera of the depth."""
        self.info.publish(info(camera))
        self.rig.until(
            lambda: self.depth_input._cameras.get('depth') == camera, 'the camera known'
        )

    def see(self, stamp: int) -> None:
        """Have the node get the depth of this time."""
        self.depth.publish(depth_image(stamp))
        ns = stamp * 10**9
        self.rig.until(
            lambda: any(one == ns for one, _ in self.depth_input._matcher._newest), 'depth there'
        )

    def until_warned(self, *parts: str) -> None:
        """Send images until the diagnostics say something."""
        inbox = Inbox(self.rig.probe, DiagnosticArray, '/diagnostics', qos())

        def warned() -> bool:
            said = inbox.last.status[0].message if inbox.messages else ''
            return all(part in said for part in parts)

        self.rig.send_until(photo, warned)

    def status(self) -> str:
        """Return the next message of the diagnostics."""
        inbox = Inbox(self.rig.probe, DiagnosticArray, '/diagnostics', qos())
        self.rig.until(lambda: inbox.messages, 'diagnostics')
        return str(inbox.last.status[0].message)


@contextmanager
def depth_rig(
    *arguments: str, output: str = 'points', kind: type = PointCloud2
) -> Iterator[DepthRig]:
    with running_rig(*WORDS, *arguments) as rig:
        yield DepthRig(rig, output, kind)
