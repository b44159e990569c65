"""Addresses of buckets, and the settings of a client from the environment."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from venice_batch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES = ("s3", "az", "gs")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SLIP = re.compile(rf"({'|'.join(SCHEMES)}):(?!//)/*(.+)", re.IGNORECASE | re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_VARIABLES = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SKIP_SIGNATURE",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_DISABLE_BULK_DELETE",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_USE_EMULATOR",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
    "gs": (
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SKIP_SIGNATURE",
    ),
}
"""Passed on as settings of their own, so that an environment that is not the process's own counts too.

The client reads these and more from the process's environment by itself.
"""
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
_PROFILE_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_NOT_HERE = ("sso_session", "sso_start_url", "credential_process", "role_arn", "credential_source")
"""Settings of profiles whose credentials only the AWS command line fetches."""


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """`scheme://bucket/prefix`, checked; `prefix` has no slash at either end."""

    scheme: str
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def under(self, path: str) -> str:
        """Return the key of `path` in the bucket."""
        return f"{self.prefix}/{path}".strip("/")


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client of obstore is made with."""

    config: dict[str, str] = field(default_factory=dict, repr=False)
    allow_http: bool = False


def is_bucket(text: str) -> bool:
    """Return whether `text` is written as the address of a bucket."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def mistyped(text: str) -> str:
    """Return the address that `text`, as s3:/bucket, was probably meant to be; "" if it is a path or an address."""
    found = _SLIP.fullmatch(text)
    return f"{found[1].lower()}://{found[2]}" if found else ""


def parse(text: str) -> BucketAddress:
    """Return the parts of an address.

    Raises:
        UsageError: it has another scheme, no bucket, or parts that no address has.
    """
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        raise UsageError(f"{text}: not the address of a bucket; give s3://BUCKET/PREFIX, az://… or gs://…")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        raise UsageError(f"{scheme}://…: an address holds no credentials; give them as variables")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{text}: {bucket or 'nothing'} is not the name of a bucket; give {scheme}://BUCKET/PREFIX")
    prefix = prefix.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise UsageError(f"{text}: a prefix has no empty parts and no . or ..")
    if not prefix.isprintable():
        raise UsageError(f"{scheme}://{bucket}: the prefix holds characters that cannot be shown")
    return BucketAddress(scheme, bucket, prefix)


def client_settings(scheme: str, environ: Mapping[str, str]) -> ClientSettings:
    """Return the settings of a client from variables and, for S3, the profiles of AWS.

    Raises:
        UsageError: a variable or a profile cannot be used.
    """
    config = {name.lower(): environ[name] for name in _VARIABLES[scheme] if environ.get(name)}
    if scheme == "s3":
        config.update(_from_profile(environ))
    if scheme == "az":
        config.update(_from_connection_string(environ))
        if not config.get("azure_storage_account_name") and "azure_storage_use_emulator" not in config:
            raise UsageError("az://…: which storage account? Set AZURE_STORAGE_ACCOUNT_NAME")
    endpoint = next((environ[name] for name in _ENDPOINTS[scheme] if environ.get(name)), config.get("endpoint", ""))
    if endpoint:
        config["base_url" if scheme == "gs" else "endpoint"] = endpoint
    return ClientSettings(config, _allows_http(scheme, endpoint, environ))


def _allows_http(scheme: str, endpoint: str, environ: Mapping[str, str]) -> bool:
    if scheme == "az" and _is_set(environ.get("AZURE_STORAGE_USE_EMULATOR")):
        return True
    parts = urlsplit(endpoint)
    if not endpoint or parts.scheme == "https":
        return False
    variable = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP"}[scheme]
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"the endpoint {endpoint} is not an address; give https://HOST")
    if parts.hostname not in _LOOPBACK and not _is_set(environ.get(variable)):
        raise UsageError(f"the endpoint {endpoint} is not encrypted; use https, or set {variable}=true")
    return True


def _is_set(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on")


def _from_connection_string(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what AZURE_STORAGE_CONNECTION_STRING sets and no other variable does."""
    text = environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    if not text:
        return {}
    pairs = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    names = {
        "AccountName": "azure_storage_account_name",
        "AccountKey": "azure_storage_account_key",
        "SharedAccessSignature": "azure_storage_sas_token",
        "BlobEndpoint": "endpoint",
    }
    config = {names[name]: value for name, value in pairs.items() if name in names}
    if _is_set(pairs.get("UseDevelopmentStorage")):
        config["azure_storage_use_emulator"] = "true"
    if not config:
        raise UsageError("AZURE_STORAGE_CONNECTION_STRING holds neither AccountName nor BlobEndpoint")
    return {name: value for name, value in config.items() if not environ.get(name.upper())}


def _from_profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Return keys, region and endpoint of AWS_PROFILE, else of the profile `default`, unless variables set them.

    Raises:
        UsageError: AWS_PROFILE names a profile that is not there, or whose credentials have to be fetched.
    """
    asked = environ.get("AWS_PROFILE", "")
    # Roles of pods and containers count before a default profile, which may belong to somebody else.
    has_keys = bool(environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"))
    found = _profile(asked or "default", environ)
    if found is None:
        if asked and not has_keys:
            raise UsageError(f"AWS_PROFILE: there is no profile {asked} in ~/.aws/credentials or ~/.aws/config")
        return {}
    config: dict[str, str] = {}
    if not has_keys:
        config = {name: found[name] for name in _PROFILE_KEYS if found.get(name)}
        if asked and "aws_access_key_id" not in config and any(found.get(name) for name in _NOT_HERE):
            command = f'eval "$(aws configure export-credentials --profile {asked} --format env)"'
            raise UsageError(f"AWS_PROFILE: the profile {asked} has no keys of its own; run {command} first")
    if found.get("region") and not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        config["aws_region"] = found["region"]
    if found.get("endpoint_url"):
        config["endpoint"] = found["endpoint_url"]
    return config


def _profile(name: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return a profile's settings from both files of AWS, None if neither has it."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or "/nonexistent") / ".aws"
    places = (
        (environ.get("AWS_CONFIG_FILE") or home / "config", name if name == "default" else f"profile {name}"),
        (environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", name),
    )
    settings: dict[str, str] = {}
    is_there = False
    for path, section in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read: {type(error).__name__}") from None
        if parser.has_section(section):
            is_there = True
            settings.update(parser.items(section))
    return settings if is_there else None
