"""Commands that start, stop and show the services."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from labelloop.commands.common import AsJson, Ports, SettingsFile, open_runtime, say


def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="end by itself; exit 0 only if every check holds")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget an earlier demo and start anew")] = False,
    port: Ports = None,
    settings: SettingsFile = None,
) -> None:
    """The whole loop on this machine: real Label Studio, sample data, simulated people, three learning projects."""
    from labelloop.demo.run import DemoOptions, run_demo
    from labelloop.services.local import WITH_PORT
    from labelloop.services.ports import wanted_ports
    from labelloop.settings import load_settings

    options = DemoOptions(ports=wanted_ports(port or [], WITH_PORT))
    raise typer.Exit(run_demo(load_settings(settings).services, headless=headless, fresh=fresh, options=options))


def up(port: Ports = None, settings: SettingsFile = None) -> None:
    """Run Redis, MLflow, the backends, the receiver, workers and scheduler against your Label Studio, until Ctrl-C."""
    from labelloop.services.local import ALL_SERVICES, WITH_PORT
    from labelloop.services.local import up as start
    from labelloop.services.ports import wanted_ports
    from labelloop.services.supervisor import interrupted_by_terminate
    from labelloop.settings import load_settings

    services = load_settings(settings).services
    services.token()
    names = [name for name in ALL_SERVICES if name != "label-studio"]
    ports = wanted_ports(port or [], WITH_PORT[1:])
    with (
        suppress(KeyboardInterrupt),
        interrupted_by_terminate(),
        start(services, print, names=names, ports=ports) as running,
    ):
        print(f"all services run against {services.label_studio_url}; Ctrl-C stops them")
        running.supervisor.wait()


def down(settings: SettingsFile = None) -> None:
    """Stop what `up` or `demo` left running in this data folder."""
    from labelloop.services.state import down as stop
    from labelloop.settings import load_settings

    stopped = stop(load_settings(settings).services.data)
    print("stopped" if stopped else "nothing was running")


def status(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """The services that run for this data folder, with their addresses, and every project's state."""
    from sync.overview import status_report, status_text

    report = status_report(open_runtime(settings))
    say(report, as_json, status_text(report))
