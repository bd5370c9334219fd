"""The object store in S3, by obstore (Rust's object_store; no boto).

Lives here: a bucket as `Objects`, and what its errors mean in words.
Comes in: bucket, prefix, keys, bytes. Goes out: bytes, tags (ETags), or one sentence.
Must never know: what is stored. Keys and session tokens are taken from the environment by obstore itself
(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, web identity, instance metadata), and never shown.

Needs a server with conditional writes (If-None-Match, If-Match): Amazon's S3, MinIO, Ceph and R2 have them.
An object goes up in one request, so it may have 5 GB at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.store.objects import Missing, Taken, checked
from agent.types import InvalidInput, RemoteFault

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

CONNECT_TIMEOUT, TIMEOUT = timedelta(seconds=5), timedelta(minutes=5)
RETRY_TIMEOUT = timedelta(seconds=30)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_SHUT = {
    "AccessDenied": "this key may not do that: allow s3:GetObject, s3:PutObject and s3:ListBucket on it",
    "InvalidAccessKeyId": "it does not know this key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "SignatureDoesNotMatch": "the key's secret is wrong: set AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session token is over: give a new one",
    "NoSuchBucket": "there is no such bucket: create it, or set objects.url to one that exists",
}

_MAY_NOT_DELETE = "this key may not delete, which `trimtab forget` needs: allow s3:DeleteObject on it"


class Bucket:
    """A prefix of one bucket."""

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint: str | None = None, region: str | None = None, retries: int = 3
    ) -> None:
        try:
            from obstore.store import S3Store
        except ModuleNotFoundError as error:
            raise InvalidInput("an object store in S3 needs obstore: pip install 'trimtab[agent]'") from error
        config: S3Config = {"conditional_put": "etag"}
        if endpoint is not None:
            config["endpoint"] = endpoint
        if region is not None:
            config["region"] = region
        client: ClientConfig = {
            "connect_timeout": CONNECT_TIMEOUT,
            "timeout": TIMEOUT,
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
        }
        retry: RetryConfig = {"max_retries": retries, "retry_timeout": RETRY_TIMEOUT}
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._store = S3Store(bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)

    def create(self, key: str, data: bytes) -> str:
        """See Objects."""
        return self._put(key, data, "create")

    def swap(self, key: str, data: bytes, tag: str) -> str:
        """See Objects."""
        return self._put(key, data, {"e_tag": tag})

    def _put(self, key: str, data: bytes, mode: Any) -> str:
        with self._faults(key):
            return str(self._store.put(str(checked(key)), data, mode=mode, use_multipart=False)["e_tag"])

    def get(self, key: str) -> tuple[bytes, str]:
        """See Objects."""
        with self._faults(key):
            answer = self._store.get(str(checked(key)))
            return bytes(answer.bytes()), str(answer.meta["e_tag"])

    def names(self, prefix: str) -> list[str]:
        """See Objects."""
        with self._faults(prefix):
            return sorted(str(item["path"]) for page in self._store.list(f"{checked(prefix)}/") for item in page)

    def remove(self, key: str) -> None:
        """See Objects. A bucket that keeps versions keeps the old one until its own rule ends it."""
        with suppress(Missing), self._faults(key, _MAY_NOT_DELETE):
            self._store.delete(str(checked(key)))

    @contextmanager
    def _faults(self, key: str, may_not: str = _SHUT["AccessDenied"]) -> Iterator[None]:
        from obstore import exceptions as said

        try:
            yield
        except (said.AlreadyExistsError, said.PreconditionError) as error:
            raise Taken(f"{key} is in {self.url} already, or was changed by another") from error
        except (said.BaseError, OSError) as error:
            code = next(iter(_CODE.findall(str(error))), "")
            if code in _SHUT and code != "AccessDenied":
                raise InvalidInput(f"object store {self.url}: {_SHUT[code]}") from error
            if isinstance(error, FileNotFoundError):
                raise Missing(f"there is no {key} in {self.url}") from error
            if code == "AccessDenied" or isinstance(error, (said.PermissionDeniedError, said.UnauthenticatedError)):
                raise InvalidInput(f"object store {self.url}: {may_not}") from error
            why = code or str(error).split("Debug source", 1)[0].split(" - ")[-1].strip()
            raise RemoteFault(
                f"object store {self.url} does not answer for {key} ({why[:200]}): see that it runs and that "
                "objects.url and objects.endpoint are right, then try again"
            ) from error
