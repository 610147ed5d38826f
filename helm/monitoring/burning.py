"""How fast an endpoint uses up what it may fail: ratios by window, and alerts on two windows at once.

At rate 1 the budget of 30 days is used up in 30 days. An hour at 14.4 takes 2 % of it, six hours at 6 take
5 %, three days at 1 take 10 % (Site Reliability Workbook, "Alerting on SLOs"). The short window ends an alert
soon after the trouble.
"""

from helm.monitoring.rule import RULED, Alert, Record, Rule

# By whom series are told apart; here there is one release, and locally neither label.
ENDPOINT = "namespace, release"
# Routes that ask the model: /predict, and /infer of the protocol, over HTTP or gRPC.
ASKING = 'route=~"/predict|.*[Ii]nfer"'
_WINDOWS = ("5m", "30m", "1h", "6h", "3d")
# What one request more or less decides is no trend: failures that the long window must have.
_FAILURES = 5
_HOURS = {"1h": 1, "6h": 6, "3d": 72}


def burning() -> list[Rule]:
    """Return the ratios, and the alerts on errors and on slowness."""
    return [*_ratios(), *_alerts()]


def _ratios() -> list[Rule]:
    records: list[Rule] = []
    for window in _WINDOWS:
        asked = f"sum by ({ENDPOINT}) (rate({RULED.total('requests', ASKING)}[{window}]))"
        failing = RULED.total("requests", ASKING, 'code=~"5.."')
        failed = f"sum by ({ENDPOINT}) (rate({failing}[{window}]))"
        timed = f"sum by ({ENDPOINT}) (rate({RULED.counts('request_seconds', ASKING)}[{window}]))"
        within = RULED.buckets("request_seconds", ASKING, 'le="$SLOW_SECONDS"')
        fast = f"sum by ({ENDPOINT}) (rate({within}[{window}]))"
        records += [
            Record(f"manta:requests_failed:rate{window}", failed),
            Record(f"manta:requests_failed:ratio_rate{window}", f"{failed}\n/ {asked}"),
            Record(f"manta:requests_slow:rate{window}", f"{timed}\n- {fast}"),
            Record(f"manta:requests_slow:ratio_rate{window}", f"1 - {fast}\n/ {timed}"),
        ]
    return records


def _alerts() -> list[Rule]:
    what = {
        "Errors": ("failed", "$ERROR_BUDGET", "of its requests fail (5xx)"),
        "Latency": ("slow", "$SLOW_BUDGET", "of its requests take longer than $SLOW_SECONDS s"),
    }
    alerts: list[Rule] = []
    for name, (kind, budget, says) in what.items():
        fast = f"{_both(kind, budget, 14.4, '1h', '5m')}\nor\n{_both(kind, budget, 6, '6h', '30m')}"
        endpoint = "The endpoint {{ $labels.namespace }}/{{ $labels.release }}"
        share = "{{ $value | humanizePercentage }}"
        alerts += [
            Alert(
                f"Manta{name}BurnFast",
                fast,
                "critical",
                f"{endpoint} uses up its budget of the month within days: {share} {says}.",
                "Look at the rows Answers and Latency of the dashboard Manta / Serving: which code, which "
                "stage.",
                lasts="2m",
            ),
            Alert(
                f"Manta{name}BurnSlow",
                _both(kind, budget, 1, "3d", "6h"),
                "warning",
                f"{endpoint} will not keep its objective of the month: {share} {says}.",
                "It is not urgent, but it will not get well by itself: find the code or the stage and its "
                "cause.",
                lasts="1h",
            ),
        ]
    return alerts


def _both(kind: str, budget: str, speed: float, long: str, short: str) -> str:
    """Ask for both windows to burn, and for more failures than a few."""
    ratio, rate = f"manta:requests_{kind}:ratio_rate", f"manta:requests_{kind}:rate"
    return (
        f"(\n  {ratio}{long} > {speed:g} * {budget}\n  and {ratio}{short} > {speed:g} * {budget}\n"
        f"  and {rate}{long} * {_HOURS[long] * 3600} > {_FAILURES}\n)"
    )
