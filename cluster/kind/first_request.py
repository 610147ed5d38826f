"""The first request to an endpoint in kind: through a port of this machine, which is closed again."""

import io
import subprocess

from PIL import Image, ImageDraw

from cluster.ask import answers, ask
from cluster.kind.steps import forward_command
from cluster.local.members import wait
from lib.config.clusters import KindConfig
from lib.errors import RunError


def first_request(config: KindConfig, token: str, timeout_s: float = 60) -> str:
    """Send a picture and return the answer, JSON; raises RunError if there is none."""
    url = f"http://127.0.0.1:{config.port}"
    forward = subprocess.Popen(forward_command(config), stdout=subprocess.DEVNULL)
    try:
        if not wait(lambda: answers(f"{url}/v2/health/ready", token), timeout_s):
            raise RunError(f"{url} does not answer", "is the port taken? give another: port=PORT")
        return ask(f"{url}/predict?top_k=3", token, _one(), timeout_s=timeout_s).decode()
    except OSError as error:
        raise RunError(f"{url} refused the first request: {error}", "see the log of the replica") from None
    finally:
        forward.terminate()
        forward.wait()


def _one() -> bytes:
    """Draw the digit 1, white on black, as a PNG."""
    picture = Image.new("L", (8, 8))
    ImageDraw.Draw(picture).line([(4, 1), (4, 6)], fill=255, width=2)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
