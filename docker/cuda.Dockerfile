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
#
# NOT BUILT YET: written by the documentation of its parts and checked by hadolint alone.
# From the repository's root: docker build -f docker/cuda.Dockerfile --build-arg ROS_DISTRO=jazzy -t zegclip .
# Needs the host's NVIDIA driver and container toolkit: docker run --gpus all --ipc=host --net=host zegclip

# jazzy (Ubuntu 24.04) or lyrical (Ubuntu 26.04).
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
ARG ROS_DISTRO

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The packages of package.xml that are not part of ros-base; the newest of the distribution.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        python3-colcon-common-extensions \
        python3-numpy \
        python3-pip \
        python3-venv \
        "ros-${ROS_DISTRO}-cv-bridge" \
        "ros-${ROS_DISTRO}-diagnostic-msgs" \
        "ros-${ROS_DISTRO}-sensor-msgs" \
        "ros-${ROS_DISTRO}-std-srvs" \
        "ros-${ROS_DISTRO}-vision-msgs" \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY package.xml setup.py setup.cfg README.md LICENSE src/zegclip_ros/
COPY resource src/zegclip_ros/resource
COPY config src/zegclip_ros/config
COPY launch src/zegclip_ros/launch
COPY rviz src/zegclip_ros/rviz
COPY foxglove src/zegclip_ros/foxglove
COPY zegclip_core src/zegclip_ros/zegclip_core
COPY zegclip_ros src/zegclip_ros/zegclip_ros

# As docs/install.md has it: NumPy stays apt's, against which cv_bridge is compiled.
ENV VIRTUAL_ENV=/ws/.venv PATH=/ws/.venv/bin:$PATH
# Ranges stand in setup.py.
# hadolint ignore=DL3013
RUN python3 -m venv --system-site-packages .venv \
    && touch .venv/COLCON_IGNORE \
    && numpy="numpy==$(/usr/bin/python3 -c 'import numpy; print(numpy.__version__)')" \
    && pip install --no-cache-dir --editable src/zegclip_ros "$numpy" \
    && . "/opt/ros/$ROS_DISTRO/setup.bash" \
    && colcon build --packages-select zegclip_ros

RUN useradd --create-home --uid 1001 robot
USER 1001
COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["bash", "/entrypoint.sh"]
CMD ["ros2", "launch", "zegclip_ros", "zegclip.launch.py"]
