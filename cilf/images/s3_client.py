"""An obstore client for a bucket, with the same endpoint and credentials that botocore would use.

For small objects, obstore needs a tenth of the CPU time of s3fs. It does not know botocore's many sources of settings
and credentials, so this module resolves them and passes them to obstore.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cilf.storage import ONCE, filesystem

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential, S3Store

_KEPT = timedelta(minutes=5)  # botocore renews credentials 10 minutes before they end
_TRICKLE_S = 300  # time limit for a body that arrives byte by byte
_KEY = "cilf-asks-where-this-would-be"


@lru_cache
def client(bucket: str) -> S3Store:
    """A client without retries, with the timeouts of ONCE. It and its connections live as long as the process.

    Raises:
        Exception: botocore's exception if there are no credentials, or for an invalid name.
    """
    from botocore.exceptions import NoCredentialsError
    from fsspec.asyn import sync
    from obstore.store import S3Store

    fs = filesystem("s3", ONCE)
    where, region = _place(fs, bucket)
    roots = fs.session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    owner = None if fs.anon else sync(fs.loop, fs.session.get_credentials)
    if owner is None and not fs.anon:
        raise NoCredentialsError

    def credentials() -> S3Credential:
        frozen = sync(fs.loop, owner.get_frozen_credentials)  # type: ignore[union-attr]
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _KEPT,
        }

    options: ClientConfig = {
        "allow_http": where.startswith("http://"),
        "connect_timeout": timedelta(seconds=ONCE.connect_s),
        "read_timeout": timedelta(seconds=ONCE.answer_s),
        "timeout": timedelta(seconds=_TRICKLE_S),
        **_proxy(fs.s3.meta.endpoint_url, where),
    }
    if roots:
        options["root_certificate"] = Path(roots).read_bytes()
    return S3Store(
        bucket,
        # Options that are not set here, obstore would look up in the environment, by its own rules.
        endpoint=where,
        aws_endpoint_url_s3=where,
        virtual_hosted_style_request=True,
        region=region,
        skip_signature=bool(fs.anon),
        request_payer=bool(fs.requester_pays),
        credential_provider=credentials if owner else None,
        client_options=options,
        retry_config={"max_retries": 0},
    )


def _proxy(endpoint: str, where: str) -> ClientConfig:
    """The proxy that botocore would use for a bucket at the URL `where` of a store at `endpoint`, or none.

    It is always set explicitly, because obstore's own rules differ: it ignores ports in NO_PROXY, and it uses
    ALL_PROXY, which botocore does not.
    """
    from botocore.utils import get_environ_proxies

    proxy = get_environ_proxies(endpoint).get(urlsplit(where).scheme)
    if proxy is None:
        return {"proxy_url": "http://none", "proxy_excludes": "*,0.0.0.0/0,::/0"}  # any name, and any address
    return {"proxy_url": proxy if re.match("https?:", proxy) else f"http://{proxy.removeprefix('//')}"}


class _Placed(Exception):
    """Raised inside botocore to stop a request before it is sent."""


def _place(fs: Any, bucket: str) -> tuple[str, str]:
    """The bucket's URL and the region to sign for, as botocore derives them from endpoint variables, profiles, regions,
    partitions, and path or host style: it builds a request and is stopped just before it would sign it."""
    from fsspec.asyn import sync

    def stop(request: Any, **_: Any) -> None:
        if request.url.endswith(_KEY):
            region = request.context.get("signing", {}).get("region") or fs.s3.meta.region_name
            raise _Placed(request.url.removesuffix(f"/{_KEY}"), region)

    fs.s3.meta.events.register("before-sign.s3.GetObject", stop, unique_id=_KEY)
    try:
        sync(fs.loop, fs.s3.get_object, Bucket=bucket, Key=_KEY)
    except _Placed as placed:
        where, region = placed.args
        return where, region
    raise AssertionError("unreachable")
