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
"""Settings of DDS and memory with which large images travel well."""

from types import MappingProxyType

LARGE_DATA = MappingProxyType(
    {
        'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
        'MALLOC_MMAP_THRESHOLD_': '268435456',
        'MALLOC_TRIM_THRESHOLD_': '536870912',
    }
)
"""Environment for processes that exchange large images.

The first has Fast DDS use shared memory and TCP instead of UDP for what is large. It must be set
on both sides, as a process that has it and one that has not exchange nothing. The others keep
glibc from giving the memory of a message back to the system each time. All of them are read when
a process starts.
"""
