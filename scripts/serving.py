"""A node of ours and stock sshd beside it: both as root, the same certificates, each in a control group of its own."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from measuring import Sshd, descendants, memory_kib, processor_seconds, run

CLUSTER = "bench.example.com"
USER = "postern-bench"
LOGINS = [USER, "root"]
# Nothing that is waited for takes so long unless it is stuck.
PATIENCE = 180


class Failed(Exception):
    """One server could not do it this time."""


def in_a_view_of_its_own():
    """Goes on in a view of the machine that only this process and what it starts have, and that ends with them."""
    if os.geteuid() != 0:
        sys.exit("bench: needs root, because both servers switch users; run it as root")
    if "POSTERN_BENCH_UNSHARED" not in os.environ:
        os.environ["POSTERN_BENCH_UNSHARED"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


def add_account(home):
    """An account for the length of this run: nothing of it is left behind, however the run ends."""
    taken = {int(line.split(":")[2]) for name in ("passwd", "group") for line in lines_of(f"/etc/{name}")}
    number = next(number for number in range(60_000, 65_000) if number not in taken)
    added = {
        "passwd": f"{USER}:x:{number}:{number}::{home}:/bin/bash",
        "group": f"{USER}:x:{number}:",
        "shadow": f"{USER}:*:20000:0:99999:7:::",
    }
    for name, line in added.items():
        original, changed = pathlib.Path(f"/etc/{name}"), home.parent / name
        shutil.copy2(original, changed)
        with open(changed, "a") as file:
            file.write(line + "\n")
        run(["mount", "--bind", changed, original])
    home.mkdir(mode=0o755)
    os.chown(home, number, number)
    return number


def lines_of(path):
    return [line for line in pathlib.Path(path).read_text().splitlines() if line.count(":") >= 3]


class Group:
    """A server and all that it starts: what they use and who they are. By control group, or where there is none, by
    descent."""

    def __init__(self, name):
        self.pid = None
        self.directory = None
        for parent in ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"):
            directory = pathlib.Path(parent, f"postern-bench-{os.getpid()}-{name}")
            try:
                directory.mkdir()
            except OSError:
                continue
            self.directory = directory
            if (directory / "cgroup.procs").exists() and self.usage() is not None:
                return
            directory.rmdir()
            self.directory = None

    def join(self):
        """For `preexec_fn`."""
        if self.directory:
            (self.directory / "cgroup.procs").write_text(str(os.getpid()))

    def usage(self):
        """Processor seconds, by the group."""
        try:
            return int((self.directory / "cpuacct.usage").read_text()) / 1e9
        except OSError:
            pass
        try:
            return int(re.search(r"usage_usec (\d+)", (self.directory / "cpu.stat").read_text()).group(1)) / 1e6
        except (OSError, AttributeError):
            return None

    def seconds(self):
        return self.usage() if self.directory else processor_seconds(self.pid)

    def processes(self):
        if not self.directory:
            return {self.pid, *descendants(self.pid)}
        found = set()
        for file in self.directory.rglob("cgroup.procs"):
            found |= {int(pid) for pid in file.read_text().split()}
        return found

    def remove(self):
        """What sessions left behind would keep it."""
        for _ in range(100):
            for pid in self.processes() if self.directory else ():
                try:
                    os.kill(pid, 9)
                except OSError:
                    pass
            try:
                if self.directory:
                    self.directory.rmdir()
                return
            except OSError:
                time.sleep(0.05)


class Server:
    """What both have: `port`, `group`, `name` for clients, `programs` that are not the user's own."""

    def settle(self, patience=10):
        """Waits until it is done with what the last client left to it. Gives the processor seconds so far."""
        before, deadline = None, time.monotonic() + patience
        while True:
            now = (self.group.processes(), round(self.group.seconds(), 3))
            if now == before or time.monotonic() > deadline:
                return self.group.seconds()
            before = now
            time.sleep(0.05)

    def own_processes(self):
        """Those that run the server's programs, not what users run."""
        for pid in self.group.processes():
            try:
                if os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)") in self.programs:
                    yield pid
            except OSError:
                continue

    def memory(self, kind="Pss"):
        """KiB of all of its own processes."""
        total = 0
        for pid in self.own_processes():
            try:
                total += memory_kib(pid)[kind]
            except OSError:
                continue
        return total


class Node(Server):
    """A node of the cluster."""

    title = "ours"

    def __init__(self, cluster, name):
        self.programs = {"postern", "session-exec", "session-launcher"}
        self.group = Group(name)
        self.name = f"{name}.{CLUSTER}"
        self.process = cluster.start(name, "node", self.group)
        self.group.pid = self.process.pid
        self.port = int(cluster.endpoint(name, "node").rpartition(":")[2])
        self.keys = cluster.keys

    def stop(self):
        end(self.process)
        self.group.remove()


class Stock(Server, Sshd):
    """sshd with its separation of privileges, which it always has, and limits that keep nobody out."""

    title = "sshd"

    def __init__(self, cluster, name):
        self.programs = {"sshd", "sshd-session", "sshd-auth", "sftp-server"}
        self.group = Group(name)
        self.name = "localhost"
        directory = pathlib.Path(tempfile.mkdtemp(prefix="sshd-", dir=cluster.directory))
        self.keys = {login: cluster.pki(directory / login, login, cluster.stock) for login in LOGINS}
        more = "MaxSessions 2000\nMaxStartups 2000\nMaxAuthTries 6\n"
        super().__init__(
            directory, cluster.user_authorities, hostkey=cluster.stock / "host", more=more, start=self.group.join
        )
        self.group.pid = self.pid

    def stop(self):
        super().stop()
        self.group.remove()


class Cluster:
    """An auth service of ours, a user with a certificate for each login, and nodes when they are asked for."""

    def __init__(self, programs, directory):
        self.programs, self.directory = programs, directory
        self.auth = None

    def begin(self):
        directory, programs = self.directory, self.programs
        self.auth = self.start("auth", "auth")
        address = self.endpoint("auth", "auth")
        self.pin = json.loads(self.tctl("status", "--format=json"))["ca_pins"][0]
        self.joining = f"  auth_server: {address}\n  ca_pin: \"{self.pin}\"\n"
        (directory / "role.yaml").write_text(
            "kind: role\nversion: v6\nmetadata:\n  name: bench\nspec:\n  allow:\n"
            f"    logins: {json.dumps(LOGINS)}\n    node_labels:\n      '*': '*'\n"
        )
        self.tctl("create", "-f", directory / "role.yaml")
        self.tctl("users", "add", "bench", "--roles=bench")
        self.tctl("auth", "sign", "--user=bench", "--format=openssh", "-o", directory / "user")
        self.user_authorities = self.authorities("user")
        # Authorities and a host key for sshd, of the same kinds.
        self.stock = directory / "stock"
        self.stock.mkdir()
        run([programs / "examples" / "ssh_peer", "pki", self.stock, "--login", USER])
        ours = directory / "ours"
        ours.mkdir()
        (ours / "host_ca.pub").write_text("\n".join(self.authorities("host")))
        self.keys = {login: self.pki(ours / login, login, ours) for login in LOGINS}

    def authorities(self, kind):
        """Key lines of the cluster's authorities."""
        words = [line.split() for line in self.tctl("auth", "export", f"--type={kind}").splitlines() if "ssh-ed25519" in line]
        return [" ".join(line[line.index("ssh-ed25519"):][:2]) for line in words]

    def pki(self, directory, login, host):
        """What clients need for this login: `ssh_peer` and OpenSSH read the same files."""
        directory.mkdir()
        for name in ("user", "user-cert.pub"):
            shutil.copy2(self.directory / name, directory / name)
        shutil.copy2(host / "host_ca.pub", directory / "host_ca.pub")
        authority = (host / "host_ca.pub").read_text().strip()
        (directory / "known_hosts").write_text(f"@cert-authority * {authority}\n")
        (directory / "user_ca.pub").write_text(self.user_authorities[0])
        (directory / "login").write_text(login)
        return directory

    def tctl(self, *arguments):
        return run([self.programs / "tctl", "-c", self.directory / "auth.yaml", *arguments])

    def start(self, name, service, group=None):
        """A process of ours, ready."""
        on = lambda this: "true" if this == service else "false"
        text = f"version: v3\npostern:\n  nodename: {name}\n  data_dir: {self.directory / name}-data\n  diag_addr: 127.0.0.1:0\n  drain_timeout: 3s\n"
        if service == "node":
            token = self.tctl("tokens", "add", "--type=node", "--format=text").strip()
            text += f"{self.joining}  auth_token: {token}\n"
        text += f"auth_service:\n  enabled: {on('auth')}\n"
        text += f"  cluster_name: {CLUSTER}\n  listen_addr: 127.0.0.1:0\n" if service == "auth" else ""
        text += f"proxy_service:\n  enabled: false\nssh_service:\n  enabled: {on('node')}\n"
        text += "  listen_addr: 127.0.0.1:0\n  labels:\n    env: bench\n" if service == "node" else ""
        config = self.directory / f"{name}.yaml"
        config.touch(mode=0o600)
        config.write_text(text)
        with open(self.directory / f"{name}.log", "w") as log:
            command = [self.programs / "postern", "start", "-c", config]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=group and group.join)
        try:
            self.wait_until_ready(name, process)
        except BaseException:
            end(process)
            raise
        return process

    def wait_until_ready(self, name, process):
        deadline, answer = time.monotonic() + 60, None
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://{self.endpoint(name, 'diag')}/readyz", timeout=5):
                    return
            except (OSError, KeyError, ValueError) as error:
                answer = error
            time.sleep(0.05)
        log = (self.directory / f"{name}.log").read_text()[-2000:]
        raise SystemExit(f"bench: {name} is not ready: {answer}\n{log}")

    def endpoint(self, name, service):
        return json.loads((self.directory / f"{name}-data" / "endpoints.json").read_text())[service]

    def stop(self):
        if self.auth:
            end(self.auth)


def end(process):
    process.terminate()
    try:
        process.wait(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
