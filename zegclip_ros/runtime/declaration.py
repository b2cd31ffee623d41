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
"""Declaring parameters: name, default, description and what is allowed stand together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


@dataclass(frozen=True)
class Declaration:
    """One parameter as it is declared.

    Attributes:
        name: Its name.
        default: Its value unless the user gives one.
        description: What it does, as ``ros2 param describe`` shows it.
        constraints: Allowed values in words, where a range cannot say it.
        bounds: Least and greatest value of a number.
        choices: The allowed words, if only some are.
        change: When it may be changed: ``never`` once the node runs, ``at once``, with an effect
            at once, or while the node is ``unconfigured``, for what is read in ``configure``.
        any_type: Whether values of other types than the default's may be given.
        check: Raises a ``ValueError`` for a value that all of this allows and that is wrong.
    """

    name: str
    default: Any
    description: str
    constraints: str = ''
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    change: Literal['never', 'at once', 'unconfigured'] = 'never'
    any_type: bool = False
    check: Callable[[Any], object] | None = None

    @property
    def descriptor(self) -> ParameterDescriptor:
        """The declaration as ROS 2 takes it."""
        descriptor = ParameterDescriptor(
            description=self.description,
            additional_constraints=self.constraints or ', '.join(self.choices),
            read_only=self.change == 'never',
            dynamic_typing=self.any_type,
        )
        if self.bounds is not None and isinstance(self.default, float):
            low, high = self.bounds
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.bounds is not None:
            low, high = (int(bound) for bound in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor

    def fault(self, value: Any) -> str | None:  # noqa: ANN401 - any type that ROS has
        """Return what is wrong with a value that ROS would take, or ``None``.

        ROS takes numbers that are out of their range by a hair.
        """
        if self.choices and value not in self.choices:
            known = ', '.join(self.choices)
            return f'Expected the parameter {self.name} to be one of {known}, but got {value!r}.'
        if self.bounds is not None and not self.bounds[0] <= value <= self.bounds[1]:
            low, high = self.bounds
            return (
                f'Expected the parameter {self.name} to be in [{low:g}, {high:g}], '
                f'but got {value!r}.'
            )
        try:
            if self.check is not None:
                self.check(value)
        except ValueError as error:
            return str(error)
        return None


def declare(node: Node, declarations: Sequence[Declaration]) -> dict[str, Any]:
    """Declare parameters on a node and return their values by name.

    Raises:
        ParameterException: If a value has the wrong type or is out of its range.
        ValueError: If it is none of the choices or out of its range.
    """
    values = {}
    for one in declarations:
        value = node.declare_parameter(one.name, one.default, one.descriptor).value
        if fault := one.fault(value):
            raise ValueError(fault)
        values[one.name] = value
    return values
