"""The signals of the launcher: SIGTERM and Ctrl-C for the end, SIGHUP for a file that is to be read again.

asked = listen_to_signals(hang_up=True)
while asked.wait():
    asked.clear()
"""

import signal
from threading import Event


class Stop(BaseException):
    """A signal asked for the end; not an Exception, so that nothing on the way holds it up."""


def listen_to_signals(hang_up: bool = False) -> Event:
    """Raise `Stop` on SIGTERM and SIGINT; on SIGHUP set the event, if there is a use for that (`hang_up`)."""
    asked = Event()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if hang_up:  # else the end of the terminal is the end of the endpoint, as ever
        signal.signal(signal.SIGHUP, lambda *_: asked.set())
    return asked


def stop(*_: object) -> None:
    # Stopping takes a few seconds; an impatient second signal must not leave half of it running.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Stop
