"""Python workers read and write files by S3's protocol and by a JVM of their own."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from m6rec.errors import ArtifactError
from m6rec.spark.places import bytes_below, matching, place_of, remove_folder
from m6rec.spark.worker_files import (
    WorkerFiles,
    class_path,
    reaches_s3,
    region_of_endpoint,
    s3_of,
)
from tests.cluster.object_store import BUCKET, ObjectStore, object_store
from tests.lanes import hadoop_aws_package


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture
def of_store(store: ObjectStore) -> WorkerFiles:
    return WorkerFiles(
        {key.removeprefix("spark.hadoop."): value for key, value in store.properties.items()}
    )


def test_a_worker_sends_and_fetches_by_s3(
    of_store: WorkerFiles, store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "rows.bin").write_bytes(bytes(range(256)) * 40_000)
    of_store.send([tmp_path / "rows.bin"], f"s3a://{BUCKET}/run/rows")
    assert store.keys("run/") == ["run/rows/rows.bin"]
    address = f"s3a://{BUCKET}/run/rows/rows.bin"
    assert of_store.has_file(address)
    assert not of_store.has_file(f"s3a://{BUCKET}/run/rows")
    (tmp_path / "back").mkdir()
    of_store.fetch([address], tmp_path / "back")
    back = (tmp_path / "back" / "rows.bin").read_bytes()
    assert back == (tmp_path / "rows.bin").read_bytes()


def test_a_missing_file_of_a_store_is_named(of_store: WorkerFiles, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"s3a://{BUCKET}/gone cannot be used"):
        of_store.fetch([f"s3a://{BUCKET}/gone"], tmp_path)


def test_a_buckets_own_settings_win() -> None:
    settings = {
        "fs.s3a.endpoint.region": "eu-west-1",
        "fs.s3a.bucket.other.endpoint.region": "us-west-2",
    }
    assert s3_of(settings, "s3a://other/x").region == "us-west-2"
    assert s3_of(settings, "s3a://shop/x").region == "eu-west-1"


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://s3-us-west-2.amazonaws.com/", "us-west-2"),
        ("s3.dualstack.ap-southeast-2.amazonaws.com", "ap-southeast-2"),
        ("s3-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://bucket.vpce-1a2b-c3.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("s3.amazonaws.com", ""),
        ("http://127.0.0.1:9000", ""),
        ("https://s3.eu-central-1.wasabisys.com", ""),
    ],
)
def test_an_endpoint_of_amazon_names_its_region(endpoint: str, region: str) -> None:
    assert region_of_endpoint(endpoint) == region


def test_without_a_region_that_of_the_endpoint_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    settings = {"fs.s3a.bucket.shop.endpoint": "s3.eu-west-3.amazonaws.com"}
    assert s3_of(settings, "s3a://shop/x").region == "eu-west-3"
    named = settings | {"fs.s3a.endpoint.region": "eu-north-1"}
    assert s3_of(named, "s3a://shop/x").region == "eu-north-1"


def test_without_an_endpoint_the_machines_region_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    assert s3_of({}, "s3a://shop/x").region == "sa-east-1"


def test_credentials_that_arrow_has_not_are_left_to_hadoop() -> None:
    name = "fs.s3a.aws.credentials.provider"
    own = "org.apache.hadoop.fs.s3a.auth.AssumedRoleCredentialProvider"
    chain = "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider"
    assert reaches_s3({name: chain}, "s3a://shop/x")
    assert reaches_s3({}, "s3a://shop/x")
    assert not reaches_s3({name: f"{chain},{own}"}, "s3a://shop/x")


@pytest.mark.parametrize(
    "name",
    [
        "hadoop.security.credential.provider.path",
        "fs.s3a.security.credential.provider.path",
        "fs.s3a.proxy.host",
        "fs.s3a.encryption.algorithm",
        "fs.s3a.server-side-encryption-algorithm",
        "fs.s3a.bucket.shop.encryption.algorithm",
    ],
)
def test_what_arrow_does_not_do_is_left_to_hadoop(name: str) -> None:
    assert not reaches_s3({name: "given"}, "s3a://shop/x")
    assert reaches_s3({name: ""}, "s3a://shop/x")
    assert reaches_s3({name: "given"}, "s3a://other/x") == (".bucket." in name)


def test_a_jvm_beside_an_executor_finds_its_classes(tmp_path: Path) -> None:
    given = {"CLASSPATH": "/a:/b/*", "HADOOP_CONF_DIR": "/etc/hadoop"}
    parts = class_path(given, [tmp_path]).split(os.pathsep)
    assert parts == ["/a", "/b/*", "/etc/hadoop", f"{tmp_path}/*"]


@pytest.fixture(scope="module")
def far(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of a file system of Hadoop's for which Python has no client, as for abfss."""
    folder = tmp_path_factory.mktemp("far")
    java_context: Any = spark.sparkContext._jsc
    mounted = "fs.viewfs.mounttable.default.link./far"
    java_context.hadoopConfiguration().set(mounted, folder.as_uri())
    return "viewfs:///far"


def test_what_the_driver_writes_a_worker_reads_by_hadoops_own_client(
    spark: SparkSession, far: str, tmp_path: Path
) -> None:
    place = place_of(spark, f"{far}/run/a b")
    (place / "model.json").write_text("{}")
    of_worker = pickle.loads(pickle.dumps(place))
    assert isinstance(of_worker.system, WorkerFiles)
    assert (of_worker / "model.json").is_file()
    assert (of_worker / "model.json").read_text() == "{}"
    (of_worker / "new" / "rows.json").write_text("[]")
    (of_worker / "new" / "rows.json").write_text("[1]")
    assert (place / "new" / "rows.json").read_text() == "[1]"
    with pytest.raises(ArtifactError, match="gone"):
        of_worker.system.fetch([f"{far}/gone"], tmp_path)


def test_the_driver_writes_whole_files_over_those_that_were_there(
    spark: SparkSession, far: str
) -> None:
    for text in ("old", "new"):
        place_of(spark, f"{far}/whole/model.json").write_text(text)
    assert place_of(spark, f"{far}/whole/model.json").read_text() == "new"
    assert len(matching(spark, far, "whole/*")) == 1


def test_the_folder_of_temporary_files_may_have_any_name(
    spark: SparkSession, far: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "a b=+%20"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    place = place_of(spark, f"{far}/odd/model.json")
    place.write_text("[1]")
    assert place.read_text() == "[1]"
    of_worker = pickle.loads(pickle.dumps(place))
    of_worker.write_text("[2]")
    assert of_worker.read_text() == "[2]"


@pytest.fixture(params=["here", "elsewhere"])
def folder(request: pytest.FixtureRequest, far: str, tmp_path: Path) -> str:
    return f"{far if request.param == 'elsewhere' else tmp_path}/a[b]"


def test_folders_are_measured_found_and_removed(spark: SparkSession, folder: str) -> None:
    for run in ("one", "t[w]o"):
        place_of(spark, f"{folder}/{run}/rows/file").write_text("12345")
    assert bytes_below(spark, folder) == 10
    assert len(matching(spark, folder, "*/rows")) == 2
    remove_folder(spark, f"{folder}/t[w]o")
    assert [found.rsplit("/", 2)[1] for found in matching(spark, folder, "*/rows")] == ["one"]
    assert bytes_below(spark, f"{folder}/none") == 0


def test_a_file_system_without_its_jar_is_named_with_the_lines_that_mend_it(
    spark: SparkSession,
) -> None:
    with pytest.raises(ArtifactError) as refused:
        place_of(spark, "s3a://bucket/lake/_artifacts")
    message = str(refused.value)
    assert "s3a://bucket/lake/_artifacts cannot be used" in message
    assert hadoop_aws_package() in message
    assert "spark.hadoop.fs.s3a.aws.credentials.provider" in message
