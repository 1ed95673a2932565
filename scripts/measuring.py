"""What the measurements share: commands and how long they take, stock sshd, what a process uses, rows of a table."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
SSHD = "/usr/sbin/sshd"
TICK = os.sysconf("SC_CLK_TCK")


def run(command, **more):
    """Output of a command that must succeed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, **more)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout.decode()


def pinned(core):
    """For `preexec_fn`: what is started stays on this core."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


class Sshd:
    """Stock sshd on a free port that accepts certificates of the user authorities in `trusted`, a list of key lines.

    `more` are settings that come before ours, `start` is called in the new process."""

    def __init__(self, directory, trusted, hostkey=None, core=None, more="", start=None):
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        certificate = ""
        if hostkey:
            certificate = f"HostCertificate {hostkey}-cert.pub\n"
        else:
            hostkey = directory / "hostkey"
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostkey])
        (directory / "trusted").write_text("\n".join(trusted) + "\n")
        (directory / "sshd_config").write_text(
            f"{more}Port {self.port}\nListenAddress 127.0.0.1\nHostKey {hostkey}\n{certificate}PidFile none\nUsePAM no\n"
            f"TrustedUserCAKeys {directory}/trusted\nAuthorizedKeysFile none\nPermitRootLogin yes\nStrictModes no\n"
            "MaxStartups 200\nSubsystem sftp internal-sftp\n"
        )
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.log = open(directory / "sshd.log", "w")
        command = [SSHD, "-D", "-e", "-f", directory / "sshd_config"]
        self.process = subprocess.Popen(command, stderr=self.log, preexec_fn=start or pinned(core))
        self.pid = self.process.pid
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        sys.exit("bench: sshd did not start")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def descendants(pid):
    """Processes below this one, by their ids."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = stat_fields(entry.name)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def stat_fields(pid):
    """What /proc/PID/stat says after the name, or nothing when the process is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def processor_seconds(pid):
    """Processor time of a process, of its children that have ended, and of those that live.

    Ended children are known to a tick (10 ms) for all of them together, the living to a nanosecond.
    """
    total = 0.0
    for process in [pid, *descendants(pid)]:
        try:
            # The clock that clock_getcpuclockid(3) gives for a process.
            total += time.clock_gettime((~process << 3) | 2)
        except OSError:
            continue
        fields = stat_fields(process)
        if fields:
            total += (int(fields[13]) + int(fields[14])) / TICK
    return total


def memory_kib(pid):
    """The sums of /proc/PID/smaps_rollup, in KiB, by name."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}


def print_table(head, rows):
    """Columns as wide as their widest cell. A row of one cell is a heading."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table if len(row) > 1) for column in range(len(head))]
    for row in table:
        if len(row) == 1:
            print(f"\n{row[0]}")
        else:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())
