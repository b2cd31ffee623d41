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
"""Parameter services that answer every request, where rclpy's own would end the node."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, SetParametersResult
from rclpy.node import Node

_TYPES = range(ParameterType.PARAMETER_NOT_SET, ParameterType.PARAMETER_STRING_ARRAY + 1)

Answer = Callable[[Any, Any], Any]
"""Callback of a service, which takes a request and a response and returns the response."""


def guard_parameter_services(node: Node) -> None:
    """Have a node refuse parameters of types that ROS does not have.

    For them rclpy raises an error that nothing catches, and anybody on the network can send one.
    """
    for service in node.services:
        if service.srv_name.endswith('/set_parameters'):
            service.callback = partial(_set_each, service.callback)
        elif service.srv_name.endswith('/set_parameters_atomically'):
            service.callback = partial(_set_all, service.callback)


def _set_each(answer: Answer, request: Any, response: Any) -> Any:  # noqa: ANN401 - rclpy's
    """Refuse the parameters with a fault and set the others."""
    faults = [_fault(parameter) for parameter in request.parameters]
    pairs = zip(list(request.parameters), faults, strict=True)
    request.parameters = [parameter for parameter, fault in pairs if fault is None]
    results = iter(answer(request, response).results)
    response.results = [fault or next(results) for fault in faults]
    return response


def _set_all(answer: Answer, request: Any, response: Any) -> Any:  # noqa: ANN401 - rclpy's
    """Refuse all parameters if one has a fault."""
    faults = [fault for fault in map(_fault, request.parameters) if fault is not None]
    if not faults:
        return answer(request, response)
    response.result = faults[0]
    return response


def _fault(parameter: Parameter) -> SetParametersResult | None:
    """Return the refusal of a parameter of an unknown type, ``None`` for any other."""
    given = parameter.value.type
    if given in _TYPES:
        return None
    return SetParametersResult(
        successful=False,
        reason=(
            f'Expected the type of the parameter {parameter.name[:100]!r} to be {_TYPES[0]} to '
            f'{_TYPES[-1]}, but got {given}.'
        ),
    )
