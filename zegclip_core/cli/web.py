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
"""``zegclip web``: a page to look at pictures with words, in a browser."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
import json
import os
import sys
from typing import Any

from zegclip_core.cli._model import add_model_options, load_segmenter, natural
from zegclip_core.errors import ConfigError
from zegclip_core.web.limits import HOST, PORT

_DESCRIPTION = """\
Serve a page on which words are typed and seen at once: on a photo, the camera of the browser, a
video, a folder, or with --ros on what a running node sees. It works without the internet, and is
open to this machine alone unless --host says otherwise.
"""
_DEFAULT_NODE = 'zegclip'
_NODE = 'zegclip_ros.nodes.web'
"""What serves the page of a running node."""
_NEEDED = ('starlette', 'uvicorn', 'websockets')
_WITHOUT = ('candidates', 'sharp_edges')
"""Options of models that the page does not have."""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add this command to the parser of ``zegclip``."""
    parser = subparsers.add_parser(
        'web', help='a page to type words and see them', description=_DESCRIPTION
    )
    parser.add_argument(
        '--ros', action='store_true', help='show a running node, and send it the words'
    )
    parser.add_argument(
        '--node', metavar='NAME', help=f'its name, with --ros alone (default: {_DEFAULT_NODE})'
    )
    parser.add_argument(
        '--host',
        default=HOST,
        metavar='ADDRESS',
        help='address to listen at, such as 0.0.0.0 for all of this machine, and then with a '
        'token (default: %(default)s, this machine alone)',
    )
    parser.add_argument(
        '--port', type=natural, default=PORT, help='0 for any (default: %(default)s)'
    )
    parser.add_argument(
        '--token', metavar='TEXT', help='what the address must hold (default: a new one, if any)'
    )
    parser.add_argument(
        '--name',
        action='append',
        default=[],
        metavar='HOST',
        help='a further name that the page is reached by; may be repeated',
    )
    parser.add_argument('--open', action='store_true', help='open it in the browser')
    add_model_options(parser, without=_WITHOUT)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Returns:
        0.

    Raises:
        ZegCLIPError: If the model, the address or ROS 2 cannot be used.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise ConfigError(
                f'Expected the Python package {name} to be installed, but it is not: '
                "pip install 'zegclip-ros[web]' has what the page needs."
            )
    _check_ros(args)
    if args.ros:
        return _run_node(args)
    from zegclip_core.web.model_desk import ModelDesk
    from zegclip_core.web.serve import Place, Server

    desk = ModelDesk(load_segmenter(args))
    server = Server(desk, Place(args.host, args.port, args.token, args.name))
    announce(server.addresses, opened=args.open)
    try:
        server.run()
    finally:
        desk.close()
    return 0


def announce(addresses: list[str], *, opened: bool) -> None:
    """Say where the page is, and open it if asked."""
    for address in addresses:
        sys.stdout.write(f'{address}\n')
    sys.stdout.flush()
    if opened:
        import webbrowser

        webbrowser.open(addresses[0])


def _check_ros(args: argparse.Namespace) -> None:
    """Refuse what is of no use with ``--ros``, or without it, in place of ignoring it."""
    if not args.ros:
        if args.node is not None:
            raise ConfigError(f'Expected --node with --ros alone, but got {args.node!r} without.')
        return
    model = argparse.ArgumentParser(add_help=False)
    add_model_options(model, without=_WITHOUT)
    defaults = vars(model.parse_args([]))
    given = [f'--{k.replace("_", "-")}' for k, v in defaults.items() if getattr(args, k) != v]
    if given:
        raise ConfigError(
            f'Expected no options of a model with --ros, but got {", ".join(given)}: the running '
            'node has its own.'
        )


def _run_node(args: argparse.Namespace) -> int:
    """Become the node that serves the page; the core itself knows no ROS."""
    if find_spec('rclpy') is None:
        raise ConfigError(
            'Expected ROS 2 for --ros, but its package rclpy is not there: source its setup.bash.'
        )
    values = {
        'node': args.node or _DEFAULT_NODE,
        'host': args.host,
        'port': args.port,
        'token': args.token or '',
        'names': args.name or [''],
        'open': args.open,
    }
    # JSON is YAML: what looks like a number stays a text.
    given = [
        part for name, value in values.items() for part in ('-p', f'{name}:={json.dumps(value)}')
    ]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, '-m', _NODE, '--ros-args', *given])
    return 0
