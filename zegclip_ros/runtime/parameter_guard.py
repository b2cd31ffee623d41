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
"""Parameter services that answer whatever they are asked, where rclpy's own would end the node."""

from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, SetParametersResult
from rclpy.node import Node
from rclpy.service import Service

_TYPES = range(ParameterType.PARAMETER_NOT_SET, ParameterType.PARAMETER_STRING_ARRAY + 1)


def guard_parameter_services(node: Node) -> None:
    """Have a node refuse parameters of types that ROS does not have.

    rclpy raises an error for them that nothing catches; anybody on the network can send one.
    """
    for service in node.services:
        if service.srv_name.endswith('/set_parameters'):
            _guard_each(service)
        elif service.srv_name.endswith('/set_parameters_atomically'):
            _guard_all(service)


def _guard_each(service: Service) -> None:
    """Refuse the parameters with a fault and set the others."""
    answer = service.callback

    def guarded(request: Any, response: Any) -> Any:  # noqa: ANN401 - rclpy's services are untyped
        asked = list(request.parameters)
        faults = [_fault(parameter) for parameter in asked]
        pairs = zip(asked, faults, strict=True)
        request.parameters = [parameter for parameter, fault in pairs if fault is None]
        results = iter(answer(request, response).results)
        response.results = [fault or next(results) for fault in faults]
        return response

    service.callback = guarded


def _guard_all(service: Service) -> None:
    """Refuse all parameters if one has a fault."""
    answer = service.callback

    def guarded(request: Any, response: Any) -> Any:  # noqa: ANN401
        faults = [fault for fault in map(_fault, request.parameters) if fault is not None]
        if not faults:
            return answer(request, response)
        response.result = faults[0]
        return response

    service.callback = guarded


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
