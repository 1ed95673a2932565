"""AWS STS and IAM that are not ours: moto, which verifies the signatures of requests, behind TLS.

Says its port and a few credentials, then serves until it is ended. moto answers in XML whatever is asked for; STS itself
answers in JSON to who accepts that, so the one answer that tests need is told again in JSON. Whoever shows a web identity
signs nothing, which moto's verification does not know; so moto is asked for the role behind it, for the token "vouched" alone.
"""

import io
import json
import os
import re
import sys
import threading
from urllib.parse import parse_qs

# So many requests are ours, to make what tests need; all others are verified.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "6"
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.serving import make_server

moto = DomainDispatcherApplication(create_backend_app)
asked = 0
CREDENTIALS = ("AccessKeyId", "SecretAccessKey", "SessionToken")


def role(fields):
    """Credentials for a web identity, as STS gives them."""
    made = sts_backends["123456789012"]["aws"].assume_role_with_web_identity(
        region_name="eu-central-1", role_session_name=fields["RoleSessionName"][0], role_arn=fields["RoleArn"][0],
        policy=None, duration=3600, external_id=None,
    )
    values = (made.access_key_id, made.secret_access_key, made.session_token)
    credentials = dict(zip(CREDENTIALS, values)) | {"Expiration": 1.9e9}
    return {"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": credentials}}}


def sts(environ, start_response):
    """moto, with its answer in JSON."""
    global asked
    asked += 1
    said = {}

    def start(status, headers, exc_info=None):
        said.update(status=status, headers=headers)
        return lambda data: None

    question = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    fields = parse_qs(question.decode())
    if fields.get("Action") == ["AssumeRoleWithWebIdentity"]:
        is_good = fields.get("WebIdentityToken") == ["vouched"]
        start_response("200 OK" if is_good else "400 Bad Request", [("content-type", "application/json")])
        return [json.dumps(role(fields) if is_good else {"Error": {"Code": "InvalidIdentityToken"}}).encode()]
    body = b"".join(moto(environ | {"wsgi.input": io.BytesIO(question)}, start)).decode()
    headers = [(name, value) for name, value in said["headers"] if name.lower() not in ("content-length", "content-type")]
    if said["status"].startswith("200") and environ.get("HTTP_ACCEPT") == "application/json":
        fields = {name: re.search(f"<{name}>(.*?)</{name}>", body).group(1) for name in ("UserId", "Account", "Arn")}
        body = json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": fields}})
        headers.append(("content-type", "application/json"))
    start_response(said["status"], headers)
    return [body.encode()]


def made(port):
    """A user and a role, each with credentials."""
    ours = dict(endpoint_url=f"http://127.0.0.1:{port}", region_name="eu-central-1")
    ours.update(aws_access_key_id="setup", aws_secret_access_key="setup")
    iam, tokens = boto3.client("iam", **ours), boto3.client("sts", **ours)
    allowed = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]})
    iam.create_user(UserName="ci")
    iam.put_user_policy(UserName="ci", PolicyName="all", PolicyDocument=allowed)
    key = iam.create_access_key(UserName="ci")["AccessKey"]
    role = iam.create_role(RoleName="runner", AssumeRolePolicyDocument=allowed)["Role"]
    iam.put_role_policy(RoleName="runner", PolicyName="all", PolicyDocument=allowed)
    assumed = tokens.assume_role(RoleArn=role["Arn"], RoleSessionName="i-0123")["Credentials"]
    user = {"AccessKeyId": key["AccessKeyId"], "SecretAccessKey": key["SecretAccessKey"]}
    return {"user": user, "role": {name: assumed[name] for name in CREDENTIALS}, "role_arn": role["Arn"]}


key, cert = sys.argv[1:]
plain = make_server("127.0.0.1", 0, moto, threaded=True)
threading.Thread(target=plain.serve_forever, daemon=True).start()
credentials = made(plain.server_port)
plain.shutdown()
server = make_server("127.0.0.1", 0, sts, threaded=True, ssl_context=(cert, key))
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_port, **credentials}), flush=True)
for line in sys.stdin:
    print(json.dumps(asked), flush=True)
