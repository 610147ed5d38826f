"""Ports of this machine.

http, grpc = free_ports(2, besides={8000})
"""

import socket
from collections.abc import Collection
from contextlib import ExitStack


def free_ports(count: int, besides: Collection[int] = ()) -> list[int]:
    """Return ports of the loopback interface that are free now, all different and none of `besides`."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count + len(besides))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    return [port for port in ports if port not in besides][:count]
