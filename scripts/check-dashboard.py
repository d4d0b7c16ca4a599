#!/usr/bin/env python3
"""Proves that every panel of docker/grafana's dashboard shows something, but for those of forwarding and discovery.

check-dashboard.py PROMETHEUS DEMO: starts three private Redis servers, the demo service (docker/app) and that
Prometheus with docker/prometheus's own configuration, kills one of the servers and starts it again, stops another
one for a while; then asks Prometheus for the query of every panel, and whether the outages can be seen. Needs nothing
but Python.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "docker/grafana/dashboards/fluster.json"
CONFIG = ROOT / "docker/prometheus/prometheus.yml"
REDIS = os.environ.get("REDIS_SERVER", "redis-server")
# The demo service is one process that passes nothing on (`make gossip-demo` does) and has a list of nodes that is fixed;
# tests/docker.rs holds these panels to the metrics that there are.
NOT_HERE = ("fluster_forward_", "fluster_discovery_")
# Seconds: before the outages, of one server dead, of all up again, of another one silent, after that.
BEFORE, DEAD, BETWEEN, SILENT, AFTER = 16, 12, 12, 8, 16
STEP = 2
# As Grafana computes it: four scrape intervals.
RATE_INTERVAL = "8s"


class Failure(Exception):
    pass


def free_ports(count):
    """Different ones: all are held until the last is known."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Processes(contextlib.ExitStack):
    """Ends, with this program, all that it has started; their output is kept for whoever has to look for a cause."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def start(self, name, command, **options):
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **options)
        log.close()
        self.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def eventually(what, seconds, probe):
    until = time.monotonic() + seconds
    while True:
        try:
            if probe():
                return
            why = "not yet"
        except OSError as e:
            why = e
        if time.monotonic() > until:
            raise Failure(f"{what}: not within {seconds} s ({why})")
        time.sleep(0.1)


def answers_ping(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
        s.sendall(b"PING\r\n")
        return s.recv(16).startswith(b"+PONG")


class Prometheus:
    def __init__(self, port):
        self.api = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what, **parameters):
        url = f"{self.api}/{what}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            return json.loads(get(url))["data"]
        except urllib.error.HTTPError as e:
            if e.code == 503:
                # It starts still, and says so in HTML.
                raise OSError(f"Prometheus is not ready: {e}") from e
            raise Failure(f"{parameters}: {json.load(e).get('error', e)}") from e

    def series(self, expr, start, end):
        """The series of an expression: labels, and the values that are numbers, with their times."""
        data = self.ask("query_range", query=expr, start=start, end=end, step=STEP)
        for one in data["result"]:
            values = [(at, float(v)) for at, v in one["values"] if math.isfinite(float(v))]
            if values:
                yield one["metric"], values

    def scrapes(self):
        targets = self.ask("targets")["activeTargets"]
        return bool(targets) and all(t["health"] == "up" for t in targets)


def panels(dashboard):
    """All panels with queries, also those inside a collapsed row."""
    for panel in dashboard["panels"]:
        yield from panels(panel) if panel.get("panels") else ()
        if panel["type"] != "row":
            yield panel


def without_variables(text, names):
    text = text.replace("$__rate_interval", RATE_INTERVAL)
    for name in names:
        text = re.sub(rf"\$({name}\b|{{{name}}})", ".*", text)
    if "$" in text:
        raise Failure(f"a variable that the dashboard does not have: {text}")
    return text


def check_panels(dashboard, prometheus, start, end):
    names = [v["name"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    empty = []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        if not match:
            raise Failure(f"the variable {variable['name']} is no label_values(metric, label)")
        selector, label = without_variables(match[1], names), match[2]
        values = prometheus.ask(f"label/{label}/values", **{"match[]": selector, "start": start, "end": end})
        print(f"  ${variable['name']}: {', '.join(values)}")
        if not values:
            empty.append(f"${variable['name']}")
    count, elsewhere = 0, 0
    for panel in panels(dashboard):
        if not panel.get("targets"):
            raise Failure(f"the panel {panel['title']} has no query")
        for target in panel["targets"]:
            if any(name in target["expr"] for name in NOT_HERE):
                elsewhere += 1
                continue
            count += 1
            found = list(prometheus.series(without_variables(target["expr"], names), start, end))
            wanted = re.findall(r"{{(\w+)}}", target["legendFormat"])
            lacking = sorted({label for labels, _ in found for label in wanted if label not in labels})
            if lacking:
                raise Failure(f"{panel['title']}: series without the label {lacking} of the legend")
            points = [v for _, values in found for _, v in values]
            summary = f"{len(found)} series, {min(points):.4g} to {max(points):.4g}" if found else "NOTHING"
            print(f"  {panel['title']} [{target['refId']}]: {summary}")
            if not found:
                empty.append(f"{panel['title']} [{target['refId']}]: {target['expr']}")
    if empty:
        raise Failure("without data:\n  " + "\n  ".join(empty))
    print(f"  {elsewhere} queries are not asked here: they begin with {' or '.join(NOT_HERE)}")
    return count


def expect(condition, what):
    if not condition:
        raise Failure(what)
    print(f"  {what}")


def check_story(prometheus, start, end, healthy, outages):
    def values(expr):
        return {labels.get("node"): v for labels, v in prometheus.series(expr, start, end)}

    state = values("min by (node) (fluster_node_state)")
    expect(set(state) == {healthy, *outages}, f"the states of {len(state)} nodes are known")
    expect(all(v == 3 for _, v in state[healthy]), f"{healthy} is up all the time")
    ejections = list(prometheus.series("sum by (node, reason) (fluster_ejections_total)", start, end))
    expect({labels["node"] for labels, _ in ejections} == set(outages), f"{len(outages)} nodes were ejected")
    failovers = values("sum by (node) (fluster_failovers_total)")
    for node, (reason, began, ended) in outages.items():
        during = [v for at, v in state[node] if began + 3 * STEP < at < ended]
        expect(during and max(during) <= 1, f"{node} is out while it is {reason}")
        expect(state[node][-1][1] == 3, f"{node} is up at the end")
        reasons = {labels["reason"] for labels, _ in ejections if labels["node"] == node}
        print(f"  {node} was ejected: {', '.join(reasons)}; {failovers[node][-1][1]:.0f} commands failed over")
        by_result = prometheus.series(f'sum by (result) (fluster_probes_total{{node="{node}"}})', start, end)
        probes = {labels["result"]: v[-1][1] for labels, v in by_result}
        expect(probes.get("ok", 0) >= 1 and probes.get("failed", 0) >= 1, f"probes of {node}: {probes}")
    # A dead one is out at the first refusal, perhaps with nothing under way; reads from a silent one time out.
    expect(sum(v[-1][1] for v in failovers.values()) >= 1, "commands failed over")
    moved = values("max(fluster_keys_moved_ratio)")[None][-1][1]
    expect(0 < moved < 0.5, f"a new weight moved {moved:.1%} of the keys")
    hits = values(
        'sum(fluster_cache_reads_total{result="hit"}) / sum(fluster_cache_reads_total{result=~"hit|miss"})'
    )[None][-1][1]
    expect(0.3 < hits < 1, f"cache hits: {hits:.1%}")
    p99 = values(
        "histogram_quantile(0.99, sum by (node, le) (rate(fluster_command_duration_seconds_bucket[1m])))"
    )
    # No command is allowed to take longer than its response time-out.
    expect(all(v[-1][1] < 0.5 for v in p99.values()), f"99th percentiles: {[f'{v[-1][1]:.4f} s' for v in p99.values()]}")


def run(prometheus_program, demo_program):
    dashboard = json.loads(DASHBOARD.read_text())
    promtool = pathlib.Path(prometheus_program).with_name("promtool")
    for arguments in (["check", "config", CONFIG], ["test", "rules", CONFIG.parent / "alerts_test.yml"]):
        subprocess.run([promtool, *arguments], check=True)

    with tempfile.TemporaryDirectory(prefix="fluster-dashboard-") as folder, Processes(pathlib.Path(folder)) as started:
        *redis_ports, demo_port, port = free_ports(5)

        def redis(n):
            at = str(redis_ports[n])
            options = ["--port", at, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            process = started.start(f"redis-{n}", [REDIS, *options])
            eventually(f"redis-server on {at}", 10, lambda: answers_ping(redis_ports[n]))
            return process

        servers = [redis(n) for n in range(3)]
        settings = {
            "REDIS_URLS": ",".join(f"redis://127.0.0.1:{p}" for p in redis_ports),
            "LISTEN": f"127.0.0.1:{demo_port}",
            "REWEIGH_SECONDS": "10",
        }
        environment = {**os.environ, **settings}
        demo = started.start("demo", [demo_program], env=environment)
        # The very configuration that compose.yml mounts, but for the address.
        config = CONFIG.read_text()
        expect(config.count("app:9464") == 1, "prometheus.yml names the service once")
        (started.folder / "prometheus.yml").write_text(config.replace("app:9464", f"127.0.0.1:{demo_port}"))
        (started.folder / "alerts.yml").write_text((CONFIG.parent / "alerts.yml").read_text())
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
        started.start("prometheus", [prometheus_program, *flags])
        prometheus = Prometheus(port)
        try:
            eventually("the service is scraped", 30, prometheus.scrapes)
            health = subprocess.run([demo_program, "check"], env=environment, timeout=10)
            expect(health.returncode == 0, "the service's health check passes")
            start = time.time()
            time.sleep(BEFORE)
            killed = time.time()
            Processes.end(servers[1])
            time.sleep(DEAD)
            back = time.time()
            redis(1)
            time.sleep(BETWEEN)
            stopped = time.time()
            servers[2].send_signal(signal.SIGSTOP)
            time.sleep(SILENT)
            servers[2].send_signal(signal.SIGCONT)
            continued = time.time()
            time.sleep(AFTER)
            end = time.time()

            print("panels:")
            count = check_panels(dashboard, prometheus, start, end)
            print("the outages, as Prometheus has them:")
            names = [f"127.0.0.1:{p}" for p in redis_ports]
            outages = {names[1]: ("dead", killed, back), names[2]: ("silent", stopped, continued)}
            check_story(prometheus, start, end, names[0], outages)

            demo.send_signal(signal.SIGTERM)
            expect(demo.wait(timeout=10) == 0, "the service ends in order with SIGTERM")
            health = subprocess.run([demo_program, "check"], env=environment, timeout=10, stderr=subprocess.DEVNULL)
            expect(health.returncode == 1, "and is not healthy any more")
            print(f"{count} queries, all with data")
        except (Failure, subprocess.TimeoutExpired):
            for name in ("demo", "prometheus"):
                lines = (started.folder / f"{name}.log").read_text(errors="replace").splitlines()
                print(f"the end of {name}'s log:", *lines[-15:], sep="\n  ", file=sys.stderr)
            raise


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    # Ended by a signal, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        run(*map(os.path.abspath, sys.argv[1:]))
    except (Failure, subprocess.SubprocessError) as e:
        sys.exit(f"error: {e}")
