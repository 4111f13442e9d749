"""Iceberg catalogs, opened as pyiceberg is configured, and messages for what goes wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError
from pyiceberg import exceptions
from pyiceberg.catalog import Catalog, MetastoreCatalog, load_catalog
from pyiceberg.exceptions import NotInstalledError, RESTError
from pyiceberg.utils.config import Config
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from cilf.errors import UsageError
from cilf.publishing.s3 import check_reachable, s3_settings
from cilf.storage import CHECKING, check_output, locate
from cilf.urls import split

_REFUSALS = (
    exceptions.UnauthorizedError,
    exceptions.ForbiddenError,
    exceptions.OAuthError,
    exceptions.AuthorizationExpiredError,
)


def open_catalog(name: str) -> Catalog:
    """Open the catalog with this name in pyiceberg's configuration. S3 settings come from the usual AWS variables,
    unless the configuration sets them.

    Raises:
        UsageError: there is no such catalog, it does not answer, or its warehouse cannot be used.
    """
    try:
        configured = Config().get_catalog_config(name)
        if configured is None:
            raise ValueError("pyiceberg's configuration has no such catalog")
        catalog = load_catalog(name, **_of_aws(configured))
    except Exception as error:
        raise UsageError(f"cannot open the Iceberg catalog {name}: {problem(error, name)}") from error
    _check_warehouse(catalog, configured, name)
    return catalog


def problem(error: Exception, catalog: str) -> str:
    """A message about an error of a catalog, in one line that says what to do."""
    text, variable = " ".join(str(error).split()), f"PYICEBERG_CATALOG__{catalog.upper()}__"
    if isinstance(error, RequestException):
        return f"nothing answers at its address ({_reason(text)}): check {variable}URI and the network"
    if isinstance(error, _REFUSALS):
        return f"it denies access ({text}): check {variable}CREDENTIAL or {variable}TOKEN"
    if isinstance(error, (RESTError, ValidationError)):
        return f"it fails, or is not an Iceberg REST catalog ({text[:300]}): check {variable}URI, or try again later"
    if isinstance(error, SQLAlchemyError):
        return f"its database cannot be used ({getattr(error, 'orig', None) or text}): check {variable}URI"
    if isinstance(error, NotInstalledError):
        return text
    return f"{text[:300]}: describe it in ~/.pyiceberg.yaml or in variables such as {variable}URI"


def check_home(catalog: Catalog, name: str, namespace: str) -> None:
    """Make sure that a location is configured for a new table.

    Raises:
        UsageError: neither the catalog nor the namespace has one.
    """
    if not isinstance(catalog, MetastoreCatalog) or "warehouse" in catalog.properties:
        return
    if "location" not in catalog.load_namespace_properties(namespace):
        raise UsageError(
            f"the Iceberg catalog {name} has no location for tables: set "
            f"PYICEBERG_CATALOG__{name.upper()}__WAREHOUSE, or `warehouse` in ~/.pyiceberg.yaml, to a folder or URL"
        )


def _reason(text: str) -> str:
    """Why a request got no answer, without the names of exception classes."""
    found = re.search(r"\[Errno[^\]]*\] [^)\"']*", text)
    return found[0] if found else text[:300]


def _of_aws(configured: Mapping[str, object]) -> dict[str, str]:
    """The S3 properties that pyiceberg does not read from the usual AWS variables itself. None are needed for a REST
    catalog, which tells clients where its tables are."""
    of_store = any(key.startswith("s3.") for key in configured)
    if of_store or str(configured.get("uri", "")).startswith("http") or configured.get("type") == "rest":
        return {}
    found = s3_settings()
    named = {"s3.endpoint": found.endpoint, "s3.region": found.region}
    if found.keys:
        names = ("s3.access-key-id", "s3.secret-access-key", "s3.session-token")
        named |= dict(zip(names, found.keys, strict=True))
    return {key: value for key, value in named.items() if value}


def _check_warehouse(catalog: Catalog, configured: Mapping[str, object], name: str) -> None:
    """Make sure that a catalog without a server has a place for new tables."""
    warehouse = str(catalog.properties.get("warehouse", ""))
    scheme, path = split(warehouse)
    if "://" in warehouse and re.search("[#?]", path):
        raise UsageError(
            f"the warehouse {warehouse} of the Iceberg catalog {name} cannot be used: pyiceberg cuts paths at # and ?; "
            "choose another, or give a local folder without file://"
        )
    if warehouse and scheme == "file":
        check_output(locate(warehouse, CHECKING), f"the warehouse of the Iceberg catalog {name}")
    elif scheme in ("s3", "s3a", "s3n") and not any(key.startswith("s3.") for key in configured):
        check_reachable(locate(f"s3://{path}", CHECKING), f"use the warehouse of the Iceberg catalog {name}")
