"""What jobs/status.py may be told.

StatusConfig(metrics=["10.0.0.4:8080"], seconds=30)
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from lib.config.section import Count, Section


def _address(text: str) -> str:
    """Accept HOST:PORT."""
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ValueError(f"{text!r} is no address; write HOST:PORT")
    return text


class StatusConfig(Section):
    """Show what trains and what is served, from the metrics of Ray's nodes."""

    metrics: list[Annotated[str, AfterValidator(_address)]] = Field(
        default=[], examples=[["127.0.0.1:8080", "10.0.0.4:8080"]]
    )
    """Where nodes export metrics. By default all nodes of the Ray at RAY_ADDRESS, else this machine's."""
    seconds: Count = 10
    """Time over which rates and latencies are taken. Ray exports every ten seconds, so fewer show little."""
