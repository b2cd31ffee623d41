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
"""``~/enable``: labelling pauses and goes on, and the model stays."""

from diagnostic_msgs.msg import DiagnosticArray
import pytest
from ros_helpers import FakeSegmenter, Inbox, qos, Rig, running_rig, solid
from std_srvs.srv import SetBool

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

WORDS = ('-p', 'class_names:=["person", "cat"]')


def enable(rig: Rig, on: bool) -> SetBool.Response:
    """Call the service and return its answer."""
    client = rig.probe.create_client(SetBool, 'zegclip/enable')
    rig.until(client.service_is_ready)
    future = client.call_async(SetBool.Request(data=on))
    rig.until(future.done)
    rig.probe.destroy_client(client)
    return future.result()


def diagnosed(rig: Rig, inbox: Inbox) -> tuple[str, str]:
    """Return the message and the value of ``enabled`` that come next."""
    inbox.messages.clear()
    rig.until(lambda: inbox.messages)
    (status,) = inbox.last.status
    (enabled,) = (row.value for row in status.values if row.key == 'enabled')
    return status.message, enabled


def test_labelling_pauses_and_goes_on_and_the_model_stays() -> None:
    with running_rig(*WORDS) as rig:
        labels = rig.start_and_listen()
        told = Inbox(rig.probe, DiagnosticArray, '/diagnostics', qos())
        rig.until_labelled(labels)
        for _ in range(2):
            answer = enable(rig, on=False)
            assert (answer.success, answer.message) == (True, 'Paused; the model is kept.')
            rig.until(lambda: rig.camera.get_subscription_count() == 0)
            assert diagnosed(rig, told) == ('The node is active and paused.', 'no')
        assert rig.node.state == 'active'
        assert (rig.segmenter.closed, rig.segmenter.released) == (0, 0)
        rig.say('dog, cow')  # Words change meanwhile.
        rig.until_active('dog', 'cow')
        assert enable(rig, on=True).success
        rig.until_labelled(labels)
        assert diagnosed(rig, told) == ('The node is active.', 'yes')


def test_a_frame_that_waits_is_not_labelled_after_a_pause() -> None:
    with running_rig(*WORDS) as rig:
        labels = rig.start_and_listen()
        rig.until_labelled(labels)
        rig.segmenter.going.clear()
        rig.send_until(lambda stamp: solid(1, stamp=stamp), rig.segmenter.busy.is_set)
        rig.deliver(solid(1, stamp=5000))
        assert enable(rig, on=False).success
        rig.segmenter.going.set()
        assert enable(rig, on=True).success
        rig.stamp = 6000
        rig.until_labelled(labels)
        assert 5000 not in labels.stamps()


def test_it_is_refused_unless_the_node_is_active_and_does_not_outlive_a_deactivation() -> None:
    with running_rig(*WORDS, '-p', 'autostart:=false') as rig:
        for on in (False, True):
            answer = enable(rig, on)
            assert not answer.success
            assert answer.message.startswith('Expected the node to be active, but it is unconf')
        rig.node.trigger_configure()
        assert 'but it is inactive' in enable(rig, on=False).message
        rig.node.trigger_activate()
        assert enable(rig, on=False).success
        rig.node.trigger_deactivate()
        assert not enable(rig, on=True).success
        rig.node.trigger_activate()
        rig.until_labelled(rig.start_and_listen())


def test_lazy_or_not_a_paused_node_subscribes_to_no_camera() -> None:
    with running_rig(*WORDS, '-p', 'lazy:=false', segmenter=FakeSegmenter()) as rig:
        rig.start_camera()
        rig.until(lambda: rig.camera.get_subscription_count() == 1)
        assert enable(rig, on=False).success
        rig.until(lambda: rig.camera.get_subscription_count() == 0)
        assert enable(rig, on=True).success
        rig.until(lambda: rig.camera.get_subscription_count() == 1)
