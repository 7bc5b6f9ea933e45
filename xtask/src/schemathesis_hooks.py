"""What schemathesis sends in `cargo xtask api`, where the OpenAPI description of the server cannot say it."""

import hashlib
import itertools
import os
import pathlib
import re
import urllib.parse

import requests
import schemathesis
import urllib3.util.connection as connection
from hypothesis import strategies as st

# 1. Bodies of which the description only says "a pipeline file" or "a component".


def pipeline(number, records):
    lines = [
        f'name = "job-{number}"',
        "[source.in]",
        'connector = "generator"',
        f"records = {records}",
        "[sink.out]",
        'input = "in"',
        'connector = "blackhole"',
    ]
    return "\n".join(lines).encode()


pipelines = st.builds(pipeline, number=st.integers(0, 1_000_000), records=st.integers(0, 1000))
component = pathlib.Path(os.environ["COFFERDAM_API_COMPONENT"]).read_bytes()

schemathesis.openapi.media_type("application/toml", pipelines)
schemathesis.openapi.media_type("application/wasm", st.just(component))

# 2. The digest of an upload is that of its body, and two parameters of a submission need a third. The description can only say that a digest
#    has 64 digits, and that each parameter is optional.


def with_origin(url):
    parts = urllib.parse.urlsplit(url)
    query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    if parts.path == "/v1/jobs" and all(name not in ("from", "from_savepoint") for name, _ in query):
        query = [(name, value) for name, value in query if name not in ("claim", "reset_watermarks")]
    return parts._replace(query=urllib.parse.urlencode(query)).geturl()


def send(session, request, **options):
    if request.method == "POST":
        request.url = with_origin(request.url)
    digest, body = request.headers.get("x-content-sha256"), request.body
    if isinstance(digest, str) and re.fullmatch("[0-9A-Fa-f]{64}", digest) and isinstance(body, bytes):
        request.headers["x-content-sha256"] = hashlib.sha256(body).hexdigest()
    return send_request(session, request, **options)


send_request = requests.Session.send
requests.Session.send = send

# 3. Each request comes from a loopback address of its own. The server limits the wrong tokens of an address, and answers 429 beyond it. The check
#    `ignored_auth` sends many wrong tokens, and wants to see that each of them is refused as wrong.

numbers = itertools.count(1)
create_connection = connection.create_connection
init_session = requests.Session.__init__


def connect(address, timeout=None, source_address=None, socket_options=None):
    number = next(numbers) % (1 << 22)
    source = f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return create_connection(address, timeout, (source, 0), socket_options)


def init(session):
    init_session(session)
    session.headers["connection"] = "close"


connection.create_connection = connect
requests.Session.__init__ = init
