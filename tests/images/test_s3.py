"""Stores that fail, give wrong responses, or are reached in unusual ways. PATIENCE_S is shortened here."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from s3fs import S3FileSystem
from scripted_s3 import HANG_UP, Answer, Scripted, serve

from cilf import storage
from cilf.images import s3, s3_client
from cilf.images.fetch import FetchError, fetch

PLENTY = 10**6
ERROR = b"<Error><Code>%s</Code><Message>%s</Message></Error>"


def statuses(answers: list[bytes | FetchError]) -> list[str | bytes]:
    return [answer.status if isinstance(answer, FetchError) else answer for answer in answers]


def forget() -> None:
    s3_client.client.cache_clear()
    storage.filesystem.cache_clear()
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def reached_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Sets the S3 endpoint and credentials."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def say(url: str, **variables: str) -> None:
        forget()
        settings = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": url}
        for name, value in (settings | variables).items():
            monkeypatch.setenv(name, value)

    yield say
    forget()


@pytest.fixture
def scripted(reached_at: Callable[..., None]) -> Iterator[Callable[..., Scripted]]:
    """Starts a store with scripted responses and uses it as the S3 endpoint."""
    servers = []

    def start(script: Callable[[str, int], Answer], delay_s: float = 0) -> Scripted:
        store = Scripted(script, delay_s)
        servers.append(serve(store))
        reached_at(store.url)
        return store

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PATIENCE_S", 1)
    monkeypatch.setattr(s3, "_FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(s3, "_LONGEST_WAIT_S", 0.2)


def ask(*keys: str, max_bytes: int = PLENTY) -> list[bytes | FetchError]:
    return fetch([f"s3://bucket/{key}" for key in keys], [None] * len(keys), max_bytes)


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(ERROR % (b"SlowDown", b"Please reduce your request rate."), 503),
        Answer(ERROR % (b"InternalError", b""), 500),
        Answer(b"", 429),
        Answer(b"half", claims=8),
        HANG_UP,
    ],
    ids=["503", "500", "429", "broken body", "reset"],
)
@pytest.mark.parametrize("key", ["plain.jpg", "odd//key.jpg"])
def test_temporary_failures_are_retried(scripted, trouble, key):
    store = scripted(lambda key, number: trouble if number < 3 else Answer(b"all of it"))
    assert ask(key) == [b"all of it"]
    assert [request.key for request in store.requests] == [key] * 3


@pytest.mark.parametrize("trouble", [Answer(b"", 503), Answer(b"half", claims=8), HANG_UP])
@pytest.mark.usefixtures("impatient")
def test_a_dead_store_is_waited_for_only_once(scripted, trouble):
    scripted(lambda key, number: trouble)
    start = time.monotonic()
    answers = ask(*(f"{number}.jpg" for number in range(1000)), "odd//key")
    assert statuses(answers) == ["unavailable"] * 1001
    assert all("failed for 1 s" in answer.reason and "\n" not in answer.reason for answer in answers)
    assert len({answer.reason for answer in answers}) <= 3, "reasons are for counting by"
    assert time.monotonic() - start < 10


@pytest.mark.usefixtures("impatient")
def test_no_server_at_the_address(reached_at):
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        reached_at(f"http://127.0.0.1:{taken.getsockname()[1]}")
        start = time.monotonic()
        assert statuses(ask(*map(str, range(300)))) == ["unavailable"] * 300
        assert time.monotonic() - start < 10


@pytest.mark.usefixtures("impatient")
def test_one_failing_object_does_not_affect_the_others(scripted):
    scripted(lambda key, number: Answer(b"", 500) if key.startswith("bad") else Answer(key.encode()), delay_s=0.02)
    keys = ["bad1", *(f"{number}" for number in range(700)), "bad2", "last"]
    expected = ["unavailable" if key.startswith("bad") else key.encode() for key in keys]
    assert statuses(ask(*keys)) == expected


def test_a_short_outage_is_waited_out(scripted):
    begun = time.monotonic()
    scripted(lambda key, _: Answer(b"", 503) if 0.3 < time.monotonic() - begun < 2 else Answer(b"x"), delay_s=0.01)
    assert set(ask(*map(str, range(3000)))) == {b"x"}
    assert time.monotonic() - begun > 2


def test_requests_wait_in_parallel(scripted):
    store = scripted(lambda key, number: Answer(b"x"), delay_s=0.2)
    ask("first")
    threads = threading.active_count()
    for _ in range(2):
        ask(*map(str, range(200)))
    assert 48 <= store.most_in_flight <= storage.CONNECTIONS
    kept = [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]
    assert len(kept) <= storage.CONNECTIONS + 16
    assert threads > 0


def test_no_more_is_read_than_allowed(scripted):
    endless = bytes(50_000_000)
    scripts = {
        "claimed": Answer(endless, claims=10**12),
        "chunked": Answer(endless, chunked=True),
        "odd//claimed": Answer(endless, claims=10**12),
        "fits": Answer(b"x" * 1000, chunked=True),
    }
    store = scripted(lambda key, number: scripts[key])
    assert statuses(ask(*scripts, max_bytes=1000)) == ["too_large"] * 3 + [b"x" * 1000]
    # The buffers of two kernels take at most this much, instead of three times 50 MB.
    assert store.written < 30_000_000


def test_refusals_of_the_store(scripted):
    scripts = {
        "denied": Answer(ERROR % (b"AccessDenied", b"Access Denied"), 403),
        "frozen": Answer(ERROR % (b"InvalidObjectState", b"The object is in Glacier"), 403),
        "expired": Answer(ERROR % (b"ExpiredToken", b"The token has expired"), 400),
        "gone": Answer(ERROR % (b"NoSuchKey", b""), 404),
        "no bucket": Answer(ERROR % (b"NoSuchBucket", b""), 404),
    }
    scripted(lambda key, number: scripts[key])
    denied, frozen, expired, *missing = ask(*scripts)
    assert statuses([denied, frozen, expired]) == ["unavailable"] * 3
    assert "no permission" in denied.reason
    assert "Access Denied" in denied.reason
    assert "Glacier" in frozen.reason
    assert "expired" in expired.reason
    assert statuses(missing) == ["missing"] * 2


def test_botocore_may_get_objects_that_obstore_is_refused(scripted):
    """For example, the bucket is in another region."""
    store = scripted(lambda key, number: Answer(b"", 301) if number == 1 else Answer(b"x"))
    assert ask("a") == [b"x"]
    agents = [request.headers["user-agent"] for request in store.requests]
    assert [("botocore" in agent) for agent in agents] == [False, True]


PROXY, NOBODY = "{proxy}", "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("variables", "by_proxy"),
    [
        ({"HTTP_PROXY": NOBODY, "NO_PROXY": "127.0.0.1:{port}"}, False),
        ({"HTTP_PROXY": NOBODY, "NO_PROXY": "*"}, False),
        ({"http_proxy": NOBODY, "no_proxy": "other, 127.0.0.1"}, False),
        ({"HTTP_PROXY": NOBODY, "NO_PROXY": ".0.0.1"}, False),
        ({"ALL_PROXY": NOBODY}, False),
        ({"HTTPS_PROXY": NOBODY}, False),
        ({"HTTP_PROXY": PROXY}, True),
        ({"http_proxy": PROXY, "HTTP_PROXY": NOBODY}, True),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "127.0.0.0/8,127.0.0.1:1,localhost"}, True),
        ({"HTTP_PROXY": "{proxy_without_scheme}"}, True),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_objects_are_fetched_through_botocores_endpoint_and_proxy(reached_at, monkeypatch, variables, by_proxy):
    store, proxy = Scripted(lambda key, number: Answer(b"direct")), Scripted(lambda key, number: Answer(b"by proxy"))
    servers = [serve(store), serve(proxy)]
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    port = store.url.rpartition(":")[2]
    places = {"proxy": proxy.url, "proxy_without_scheme": proxy.url.removeprefix("http://"), "port": port}
    reached_at(store.url, **{name: value.format(**places) for name, value in variables.items()})
    try:
        # botocore itself requests the key that is not plain.
        assert ask("plain", "odd//key") == [b"by proxy" if by_proxy else b"direct"] * 2
        assert len([r for r in (*store.requests, *proxy.requests) if "botocore" in r.headers["user-agent"]]) == 1
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def test_a_proxy_gets_its_credentials(reached_at, monkeypatch):
    proxy = Scripted(lambda key, number: Answer(b"by proxy"))
    server = serve(proxy)
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    reached_at("http://127.0.0.1:9", HTTP_PROXY=proxy.url.replace("//", "//me:p%40ss@"))
    assert ask("plain") == [b"by proxy"]
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A key and a self-signed certificate for 127.0.0.1, as `openssl req -x509` makes them, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "store.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.mark.parametrize("told_by", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile"])
@pytest.mark.usefixtures("impatient")
def test_botocore_decides_which_certificates_are_trusted(certificate, reached_at, tmp_path, monkeypatch, told_by):
    store = Scripted(lambda key, number: Answer(b"x"))
    server = serve(store)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = store.url.replace("http:", "https:")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(f"[profile trusting]\nca_bundle = {certificate}\n")
    profile = {"AWS_PROFILE": "trusting", "AWS_CONFIG_FILE": str(tmp_path / "config")}
    reached_at(url, **(profile if told_by == "profile" else {told_by: str(certificate)}))
    assert ask("plain", "odd//key") == [b"x"] * 2
    server.shutdown()
    server.server_close()


KEYS = [
    *("a b", " a", "a ", "é", "e\u0301", "日本/😀.jpg", "a%41", "a%2Fb", "a%", "a+b", "a#b", "a?b", "a?versionId=x"),
    *("a&b=c", "a[1]{2}", "'\"", "a\\..\\b", "...", ".a", "_a", "a:b;c,d@e$f!g(h)*~`^|<>", "date=2024-01-01/x"),
    *("http://x/y", "\u202ea", "\ufeff", "\u2028", "x" * 900, "é" * 450, "x/" * 400 + "y"),
    *("a//b", "/a", "//", "a/", "a/b/", "a/./b", "a/../b", "..", "a\nb", "a\tb", "a\rb", "a\x01b", "a\x7fb"),
]


def test_exactly_the_key_is_requested(scripted):
    store = scripted(lambda key, number: Answer(key.encode()))
    assert ask(*KEYS) == [key.encode() for key in KEYS]
    assert sorted(request.key for request in store.requests) == sorted(KEYS)


@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_botocore_decides_which_credentials_are_used(scripted, reached_at, tmp_path, monkeypatch, key):
    store = scripted(lambda key, number: Answer(b"x"))
    (tmp_path / "config").write_text(
        "[profile other]\naws_access_key_id = other\naws_secret_access_key = s\nregion = eu-west-1\n"
    )
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for variables in (
        {"AWS_SESSION_TOKEN": "token"},
        {"AWS_PROFILE": "other", "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
    ):
        reached_at(store.url, **variables, AWS_ENDPOINT_URL_S3=store.url)
        if "AWS_PROFILE" in variables:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.delenv("AWS_SESSION_TOKEN")
        assert ask(key) == [b"x"]
    first, second = (request.headers for request in store.requests)
    assert first["x-amz-security-token"] == "token"
    assert "Credential=key/" in first["authorization"]
    assert "Credential=other/" in second["authorization"]
    assert "/eu-west-1/s3/" in second["authorization"]


def test_without_credentials(reached_at, monkeypatch):
    reached_at("http://127.0.0.1:1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (answer,) = ask("a")
    assert isinstance(answer, FetchError)
    assert answer.status == "unavailable"
    assert "AWS_PROFILE" in answer.reason


def test_an_incomplete_file_is_read_again(scripted):
    body = bytes(200_000)
    scripted(lambda key, number: Answer(body[:100_000], claims=len(body)) if number == 1 else Answer(body))
    labels = storage.locate("s3://bucket/labels.parquet")
    assert labels.fs.cat_file(labels.path, start=-1_000_000) == body


@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_the_version_is_compared_without_a_further_request(scripted, key):
    """The ETag in the response is compared, because not every store supports If-Match."""
    store = scripted(lambda key, number: Answer(b"x"))
    for etag, expected in (("abc", b"x"), ('W/"abc"', b"x"), ("abd", "unavailable")):
        assert statuses(fetch([f"s3://bucket/{key}"], [1], PLENTY, [etag])) == [expected]
    assert [request.key for request in store.requests] == [key] * 3
