"""paramiko as a server for one connection. Takes its task as JSON in its argument; prints its port, and in the end how many
key exchanges there were, as far as it knows."""

import json
import socket
import subprocess
import sys
import threading

import paramiko


def start(target, *args):
    threading.Thread(target=target, args=args, daemon=True).start()


class Server(paramiko.ServerInterface):
    """Accepts one user's certificate, runs commands and connects to where it is asked to."""

    def __init__(self, user):
        self.user = user
        self.destinations, self.commands = {}, {}

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        # What it makes of a certificate is the key in it; the rest is for others to check.
        return paramiko.AUTH_SUCCESSFUL if key == self.user else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, number):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, number, origin, destination):
        self.destinations[number] = destination
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        self.commands[channel.chanid] = command
        return True


def pump(read, write, end):
    while piece := read(1 << 16):
        write(piece)
    end()


def run(channel, command):
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, shell=True, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    start(pump, channel.recv, child.stdin.write, child.stdin.close)
    pumps = [
        threading.Thread(target=pump, args=(child.stdout.read, channel.sendall, lambda: None)),
        threading.Thread(target=pump, args=(child.stderr.read, channel.sendall_stderr, lambda: None)),
    ]
    for each in pumps:
        each.start()
    for each in pumps:
        each.join()
    channel.send_exit_status(child.wait())
    channel.close()


def forward(channel, destination):
    there = socket.create_connection(destination)
    start(pump, channel.recv, there.sendall, lambda: there.shutdown(socket.SHUT_WR))
    pump(there.recv, channel.sendall, channel.close)


def runs_after_its_answer(server):
    """A command may be done before paramiko says that it runs, so it begins when that is said."""
    table = paramiko.Transport._channel_handler_table
    handle = table[paramiko.common.MSG_CHANNEL_REQUEST]

    def handled(channel, message):
        handle(channel, message)
        command = server.commands.pop(channel.chanid, None)
        if command is not None:
            start(run, channel, command)

    table[paramiko.common.MSG_CHANNEL_REQUEST] = handled


def main(task):
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    transport = paramiko.Transport(listener.accept()[0])
    offered = transport.get_security_options()
    offered.kex = [task["key_exchange"]]
    offered.ciphers = [task["cipher"]]
    transport.add_server_key(paramiko.PKey.from_path(task["host_key"]))
    server = Server(paramiko.PKey.from_path(task["user_key"]))
    runs_after_its_answer(server)
    transport.start_server(server=server)
    while transport.is_active():
        channel = transport.accept(0.1)
        if channel and channel.chanid in server.destinations:
            start(forward, channel, server.destinations[channel.chanid])
    print(json.dumps({"exchanges": 1 + (transport.H != transport.session_id)}), flush=True)


main(json.loads(sys.argv[1]))
