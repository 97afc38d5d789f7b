"""An object store on loopback that speaks S3's protocol, and what Spark has to be told of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.lanes import hadoop_aws_package

BUCKET = "shop"
_REGION = "us-east-1"
_KEY, _SECRET = "a-key", "a-secret"
_HOST = "127.0.0.1"
_PREFIX = "spark.hadoop.fs.s3a."


@dataclass(frozen=True)
class ObjectStore:
    """A running store with one bucket."""

    endpoint: str

    @property
    def properties(self) -> dict[str, str]:
        """What a properties file says of the store, beside the package of its file system."""
        credentials = {"access.key": _KEY, "secret.key": _SECRET}
        keys = {f"{_PREFIX}{name}": value for name, value in credentials.items()}
        return self.properties_without_credentials | keys

    @property
    def properties_without_credentials(self) -> dict[str, str]:
        """The same, without the keys."""
        settings = {
            "endpoint": self.endpoint,
            "endpoint.region": _REGION,
            "path.style.access": "true",
        }
        return {f"{_PREFIX}{name}": value for name, value in settings.items()}

    @property
    def package(self) -> str:
        """The package of the file system `s3a`."""
        return hadoop_aws_package()

    def put(self, file: Path, key: str) -> str:
        """Store a file; return its address for Spark."""
        self._client.upload_file(str(file), BUCKET, key)
        return f"s3a://{BUCKET}/{key}"

    def keys(self, prefix: str) -> list[str]:
        """The keys below a prefix."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def removed_keys(self) -> list[str]:
        """The keys that were written and removed again."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        gone = [marker for page in pages for marker in page.get("DeleteMarkers", ())]
        return [marker["Key"] for marker in gone if marker["IsLatest"]]

    def text(self, key: str) -> str:
        """What is stored under a key."""
        return str(self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode())

    @property
    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=_REGION,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
        )


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Start a store with an empty bucket, which keeps what is removed from it, and stop it."""
    server = ThreadedMotoServer(ip_address=_HOST, port=0, verbose=False)
    server.start()
    try:
        store = ObjectStore(f"http://{_HOST}:{server.get_host_and_port()[1]}")
        store._client.create_bucket(Bucket=BUCKET)
        versioning = {"Status": "Enabled"}
        store._client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versioning)
        yield store
    finally:
        server.stop()
