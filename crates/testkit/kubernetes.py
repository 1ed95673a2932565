"""The part of a Kubernetes API server that an agent speaks with: server-side apply of Secrets, over TLS, for whoever has a token.

Behaves as the documentation of the API has it (Server-Side Apply; API concepts; RBAC): owners of fields are kept for each key, a key
that another manager owns with another value is a conflict (409) unless force is asked for, refusals are objects of kind Status. What it
holds is a JSON file that tests read and write. Usage: kubernetes.py STATE KEY CERTIFICATE; prints its port."""

import base64
import http.server
import json
import ssl
import sys
import urllib.parse

STATE, KEY, CERTIFICATE = sys.argv[1:]


def status(code, reason, message):
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}


def apply(state, namespace, name, query, body):
    user = f"system:serviceaccount:{namespace}:tbot"
    if state["denied"]:
        return status(403, "Forbidden", f'secrets "{name}" is forbidden: User "{user}" cannot patch resource "secrets" in API group "" in the namespace "{namespace}"')
    if namespace not in state["namespaces"]:
        return status(404, "NotFound", f'namespaces "{namespace}" not found')
    manager = query.get("fieldManager", [""])[0]
    if not manager:
        return status(422, "Invalid", "fieldManager: Required value: is required for apply patch")
    known = {"apiVersion", "kind", "metadata", "type", "data"}
    if query.get("fieldValidation") == ["Strict"] and set(body) - known:
        return status(400, "BadRequest", "strict decoding error: unknown field")
    if body["metadata"]["name"] != name or body["metadata"].get("namespace", namespace) != namespace:
        return status(400, "BadRequest", "the name of the object does not match the name on the URL")
    for value in body["data"].values():
        base64.b64decode(value, validate=True)
    stored = state["secrets"].get(f"{namespace}/{name}")
    found = stored or {"type": body["type"], "data": {}, "managers": {}, "labels": {}}
    if found["type"] != body["type"]:
        return status(422, "Invalid", f'Secret "{name}" is invalid: type: Invalid value: "{body["type"]}": field is immutable')
    conflicts = [
        (found["managers"][key], key)
        for key, value in sorted(body["data"].items())
        if found["managers"].get(key, manager) != manager and found["data"][key] != value
    ]
    if conflicts and query.get("force") != ["true"]:
        listed = ", ".join(f'conflict with "{other}": .data.{key}' for other, key in conflicts)
        return status(409, "Conflict", f"Apply failed with {len(conflicts)} conflict{'s' * (len(conflicts) > 1)}: {listed}")
    # Keys that the manager does not apply any more are removed.
    for key in [key for key, other in found["managers"].items() if other == manager and key not in body["data"]]:
        del found["data"][key], found["managers"][key]
    found["data"].update(body["data"])
    found["managers"].update({key: manager for key in body["data"]})
    found["labels"].update(body["metadata"].get("labels", {}))
    found["writes"] = found.get("writes", 0) + 1
    state["secrets"][f"{namespace}/{name}"] = found
    return (200 if stored else 201), {"kind": "Secret", "apiVersion": "v1", **body}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PATCH(self):
        with open(STATE) as file:
            state = json.load(file)
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = url.path.split("/")
        if self.headers["Authorization"] != f"Bearer {state['token']}":
            return self.answer(*status(401, "Unauthorized", "Unauthorized"))
        if self.headers["Content-Type"] != "application/apply-patch+yaml":
            return self.answer(*status(415, "UnsupportedMediaType", "the body of the request was in an unknown format"))
        if parts[:4] != ["", "api", "v1", "namespaces"] or parts[5:6] != ["secrets"] or len(parts) != 7:
            return self.answer(*status(404, "NotFound", "the server could not find the requested resource"))
        if state["broken"]:
            return self.answer(*status(500, "InternalError", "etcdserver: leader changed"))
        answer = apply(state, parts[4], parts[6], urllib.parse.parse_qs(url.query), json.loads(body))
        with open(STATE, "w") as file:
            json.dump(state, file)
        self.answer(*answer)

    def do_GET(self):
        self.answer(*status(405, "MethodNotAllowed", "tests read the file"))

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
