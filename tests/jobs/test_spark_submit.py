"""spark-submit.sh: what a newcomer with something missing is told, and a job run by it."""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from m6rec.startup.options import options_of
from tests.lanes import LANE, LOCK_FILE
from tests.local_properties import CLASS_ARCHIVE
from tests.shell_environment import registry_variables, shell_environment

REPOSITORY = Path(__file__).parent.parent.parent
SCRIPT = REPOSITORY / "spark-submit.sh"
JOBS = sorted(file for file in (REPOSITORY / "jobs").glob("*.py") if file.stem != "__init__")
SHELL_TOOLS = ("bash", "sed", "awk", "df", "dirname", "basename", "cut", "cat", "head", "sha256sum")


def submit(
    *arguments: str, cwd: Path = REPOSITORY, **variables: str
) -> subprocess.CompletedProcess[str]:
    # A wide terminal, so that no message is wrapped.
    environment = shell_environment(COLUMNS="200") | variables
    return subprocess.run(
        [str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        check=False,
    )


def words_of_command(*arguments: str, cwd: Path = REPOSITORY, **variables: str) -> list[str]:
    """The words of the command of spark-submit that the script would run."""
    result = submit(*arguments, cwd=cwd, DRY_RUN="1", **variables)
    assert result.returncode == 0, result.stderr
    return shlex.split(result.stdout)


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def stand_in_environment(folder: Path, lock: str = LOCK_FILE, **programs: str) -> Path:
    """A virtual environment that counts as set up, with other programs in place of its own."""
    binaries = folder / "venv" / "bin"
    binaries.mkdir(parents=True)
    wanted = (REPOSITORY / "requirements" / lock).read_bytes()
    (folder / "venv/.m6rec-lock").write_text(hashlib.sha256(wanted).hexdigest())
    given = {"python": f'exec {sys.executable} "$@"'} | programs
    for name, text in given.items():
        program = binaries / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return folder / "venv"


def write_config(folder: Path) -> Path:
    events = [f"user{u},item{(u + i) % 12}\n" for u in range(30) for i in range(8)]
    (folder / "events.csv").write_text("user_id,item_id\n" + "".join(events))
    file = folder / "config.yaml"
    file.write_text("interactions:\n  source: {path: events.csv, format: csv}\n")
    return file


def test_help_explains_the_script_and_lists_every_job() -> None:
    result = submit("--help")
    assert result.returncode == 0
    jobs = {file.stem for file in (REPOSITORY / "jobs").glob("*.py")} - {"__init__"}
    for word in (*jobs, "MASTER", "DEPLOY_MODE", "PROPERTIES", "ARCHIVES", "--config"):
        assert word in result.stdout


def test_an_unknown_lane_is_named_with_those_that_there_are() -> None:
    result = submit("demo", LANE="newest")
    assert result.returncode == 2
    assert "LANE=newest is unknown" in result.stderr
    lanes = {file.stem for file in (REPOSITORY / "requirements").glob("*.txt")}
    for lane in lanes - {"lock", "benchmark"}:
        assert lane in result.stderr


def test_the_environment_of_another_lane_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".m6rec-lane").write_text("main")
    result = submit("setup", LANE="current", M6REC_VENV=str(tmp_path))
    assert result.returncode == 2
    assert f"{tmp_path} is the environment of lane main" in result.stderr
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".m6rec-lane"]


@pytest.mark.parametrize("job", ["train_everything", "../jobs/demo", "__init__", "demo.py"])
def test_an_unknown_job_is_named(job: str) -> None:
    result = submit(job)
    assert result.returncode == 2
    assert f"there is no job {job}." in result.stderr
    assert "train_factors" in result.stderr


def test_a_search_is_not_begun_where_it_would_be_lost() -> None:
    result = submit("tune", "--config", "my.yaml", MASTER="yarn", DEPLOY_MODE="cluster")
    assert result.returncode == 2
    assert "leave out DEPLOY_MODE=cluster" in result.stderr


def test_h_explains_a_job_as_help_does_whatever_python_is_told_elsewhere() -> None:
    told = {"PYTHONHOME": "/nonexistent", "PYTHONOPTIMIZE": "2"}
    result = submit("publish", "-h", **told)
    assert result.returncode == 0, result.stderr
    assert "Make a finished run the published one" in result.stdout
    assert result.stdout == submit("publish", "--help").stdout


@pytest.mark.parametrize("option", ["--config", "--set", "--run-id", "--output"])
def test_an_option_without_a_value_is_named_before_spark_starts(option: str) -> None:
    result = submit("pipeline", option)
    assert result.returncode == 2
    assert f"{option} has no value; give one after it" in result.stderr
    assert "starting Spark" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("pipeline",), "job pipeline needs --config."),
        (("pipeline", "--confg", "a.yaml"), "has no option --confg; did you mean --config?"),
        (("forget", "--config", "a.yaml"), "job forget needs --users."),
        (("publish", "--config", "a.yaml", "--history=1"), "has no option --history=1"),
        (("check", "a.yaml"), "a.yaml belongs to no option of job check"),
        (("quality", "--data", "d", "--output=~/out"), "--output is ~/out, and only a shell"),
        (("check", "--config", "~/a.yaml"), "--config is ~/a.yaml, and only a shell knows"),
    ],
)
def test_a_wrong_option_is_named_before_spark_starts(arguments: tuple[str], named: str) -> None:
    result = submit(*arguments)
    assert result.returncode == 2
    assert named in result.stderr
    assert f"./spark-submit.sh {arguments[0]} --help explains" in result.stderr
    assert "starting Spark" not in result.stderr


@pytest.mark.parametrize("job", [file.stem for file in JOBS])
def test_the_options_told_from_a_jobs_source_are_those_of_its_help(job: str) -> None:
    options = options_of((REPOSITORY / f"jobs/{job}.py").read_text())
    function = getattr(import_module(f"jobs.{job}"), "main", None)
    if function is None:
        assert {one.name for one in options} == {"--config", "--set", "--run-id", "--output"}
        return
    application = typer.Typer(add_completion=False)
    application.command()(function)
    theirs = [p for p in typer.main.get_command(application).params if p.name != "help"]
    assert {(one.name, one.is_required, one.is_flag) for one in options} == {
        (one.opts[0], one.required, getattr(one, "is_flag", False)) for one in theirs
    }


def test_without_java_it_says_how_to_install_it(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    result = submit("prepare_interactions", "--config", config, JAVA_HOME="/nonexistent")
    assert result.returncode == 2
    assert "Java 17 or 21 is needed; found none" in result.stderr
    assert "openjdk-17" in result.stderr


def test_without_python_311_it_says_how_to_install_it(tmp_path: Path) -> None:
    for tool in SHELL_TOOLS:
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    result = submit("setup", PATH=str(tmp_path), M6REC_VENV=str(tmp_path / "venv"))
    assert result.returncode == 2
    assert "Python 3.11 not found" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_without_disk_it_says_how_much_is_needed(tmp_path: Path) -> None:
    result = submit("setup", M6REC_VENV=str(tmp_path / "venv"), M6REC_DISK_GIB="9000000")
    assert result.returncode == 2
    assert "9000000 GiB are needed" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_without_a_registry_it_says_what_to_check(tmp_path: Path) -> None:
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    result = submit(
        "setup",
        M6REC_VENV=str(tmp_path / "venv"),
        M6REC_CACHE=str(tmp_path / "cache"),
        M6REC_DISK_GIB="1",
        PIP_FIND_LINKS="",
        **unreachable,
    )
    assert result.returncode == 2
    assert "could not install uv" in result.stderr
    assert "Is the package registry reachable?" in result.stderr


def test_a_wrong_config_stops_before_spark_starts(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    # A module of the caller's own is not taken for one of M6-Rec's.
    (tmp_path / "yaml.py").write_text("raise SystemExit('the wrong yaml')")
    result = submit(
        "prepare_interactions", "--config", config, "--set", "split.shar=1", cwd=tmp_path
    )
    assert result.returncode == 2
    assert "split.shar: unknown key" in result.stderr
    assert "starting Spark" not in result.stderr


def test_a_missing_properties_file_is_named(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    result = submit(
        "prepare_interactions", "--config", config, cwd=tmp_path, PROPERTIES="/no/such.conf"
    )
    assert result.returncode == 2
    assert "/no/such.conf does not exist" in result.stderr


@pytest.mark.parametrize("master", ["local[2]", "spark://host:7077"])
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, master: str) -> None:
    config = write_config(tmp_path)
    result = submit(
        *("check", "--config", str(config)),
        cwd=tmp_path,
        MASTER=master,
        M6REC_CACHE=str(config / "cache"),
    )
    assert result.returncode == 2
    assert f"the cache {config}/cache cannot be written" in result.stderr
    assert "set M6REC_CACHE" in result.stderr


def test_no_job_is_sent_without_its_package(tmp_path: Path) -> None:
    failing = f'[ "$1" != -P ] || exit 1; exec {sys.executable} "$@"'
    result = submit(
        "demo",
        MASTER="spark://host:7077",
        DRY_RUN="1",
        M6REC_VENV=str(stand_in_environment(tmp_path, python=failing)),
        M6REC_CACHE=str(tmp_path / "cache"),
    )
    assert result.returncode == 2
    assert "set M6REC_CACHE" in result.stderr
    assert result.stdout == ""


def test_each_state_of_the_package_has_a_zip_of_its_own(tmp_path: Path) -> None:
    for name in ("lib", "jobs", "conf", "requirements"):
        shutil.copytree(
            REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(SCRIPT, tmp_path)
    old = tmp_path / "cache/m6rec-package-0123.zip"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))

    def package() -> Path:
        printed = subprocess.run(
            [str(tmp_path / SCRIPT.name), "demo"],
            capture_output=True,
            text=True,
            check=True,
            env=shell_environment(
                MASTER="spark://host:7077", DRY_RUN="1", M6REC_CACHE=str(tmp_path / "cache")
            ),
        ).stdout
        return Path(option(shlex.split(printed), "--py-files"))

    first = package()
    assert package() == first
    with (tmp_path / "jobs/check.py").open("a") as job:
        job.write("# Other code.\n")
    second = package()
    assert second != first
    assert sorted(old.parent.iterdir()) == sorted([first, second])
    # The examples' configurations are in it.
    path = {"PYTHONPATH": str(first), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "jobs.examples", "--trade", "news", "--output", "made"]
    subprocess.run(command, env=shell_environment(**path), cwd=tmp_path, check=True)
    assert "articles.parquet" in (tmp_path / "made/news/config.yaml").read_text()


def test_with_an_archive_executors_have_its_python_and_the_driver_its_own(tmp_path: Path) -> None:
    archive = tmp_path / "environment.tar.gz"
    archive.touch()
    given = {"MASTER": "yarn", "ARCHIVES": str(archive), "M6REC_CACHE": str(tmp_path / "cache")}
    for mode, driver in {
        "client": f"{sys.prefix}/bin/python",
        "cluster": "./environment/bin/python",
    }.items():
        words = words_of_command("demo", DEPLOY_MODE=mode, **given)
        settings = [words[place + 1] for place, word in enumerate(words) if word == "--conf"]
        assert settings == [
            "spark.pyspark.python=./environment/bin/python",
            f"spark.pyspark.driver.python={driver}",
        ]


def test_tables_are_not_looked_for_here_where_they_may_lie_elsewhere(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("interactions: {source: {path: /no/such/volume, format: parquet}}\n")
    check, cache = ("check", "--config", str(config)), {"M6REC_CACHE": str(tmp_path / "cache")}
    of_pods = {"MASTER": "k8s://https://host:6443", "DEPLOY_MODE": "cluster"}
    assert words_of_command(*check, **of_pods, **cache)
    properties = tmp_path / "spark.conf"
    properties.write_text("spark.hadoop.fs.defaultFS = hdfs://name\n")
    assert words_of_command(*check, PROPERTIES=str(properties), **cache)
    here = submit(*check, DRY_RUN="1", **cache)
    assert here.returncode == 2
    assert "table /no/such/volume does not exist" in here.stderr


def test_packages_are_those_of_the_lanes_spark_and_hadoop(tmp_path: Path) -> None:
    venv = stand_in_environment(tmp_path, "long-lived.txt")
    given = {"M6REC_VENV": str(venv), "M6REC_CACHE": str(tmp_path / "cache")}
    files = ",".join(str(REPOSITORY / f"conf/spark-{name}.conf") for name in ("local", "s3"))
    words = words_of_command("demo", PROPERTIES=files, **given | {"LANE": "long-lived"})
    packages = option(words, "--packages").split(",")
    assert packages == ["io.delta:delta-spark_2.12:3.3.3", "org.apache.hadoop:hadoop-aws:3.3.4"]
    chain = "com.amazonaws.auth.DefaultAWSCredentialsProviderChain"
    assert option(words, "--conf") == f"spark.hadoop.fs.s3a.aws.credentials.provider={chain}"


def test_files_of_properties_of_the_same_names_elsewhere_are_others(tmp_path: Path) -> None:
    joined = []
    for shop in ("one", "two"):
        folder = tmp_path / shop
        folder.mkdir()
        (folder / "spark.conf").write_text("spark.ui.enabled false\n")
        (folder / "store.conf").write_text(f"spark.hadoop.fs.defaultFS hdfs://{shop}\n")
        given = {"PROPERTIES": "spark.conf,store.conf", "M6REC_CACHE": str(tmp_path / "cache")}
        words = words_of_command("demo", cwd=folder, **given)
        joined.append(Path(option(words, "--properties-file")))
    assert [file.read_text().splitlines()[1:] for file in joined] == [
        [f"spark.hadoop.fs.defaultFS hdfs://{shop}"] for shop in ("one", "two")
    ]


def test_the_set_up_reaches_maven_as_the_caller_says(tmp_path: Path) -> None:
    told = tmp_path / "told"
    venv = stand_in_environment(tmp_path, spark_submit=f'echo "$SPARK_SUBMIT_OPTS" >{told}; exit 1')
    given = {"M6REC_VENV": str(venv), "M6REC_CACHE": str(tmp_path / "cache")}
    proxy = "-Dhttps.proxyHost=proxy"
    assert submit("setup", SPARK_SUBMIT_OPTS=proxy, **given).returncode == 0
    assert proxy in told.read_text()
    failed = submit("setup", "--packages", **given)
    assert failed.returncode == 2
    assert "-Dhttps.proxyHost=HOST" in failed.stderr
    assert "DEFAULT_ARTIFACT_REPOSITORY" in failed.stderr


def test_a_set_up_that_is_cut_off_is_done_anew(tmp_path: Path) -> None:
    venv = stand_in_environment(tmp_path)
    stamp = venv / ".m6rec-lock"
    stamp.write_text("of other packages")
    uv = tmp_path / "cache/bootstrap/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    result = submit(
        "setup",
        M6REC_VENV=str(venv),
        M6REC_CACHE=str(tmp_path / "cache"),
        M6REC_DISK_GIB="0",
        PYTHON=sys.executable,
    )
    assert result.returncode == 2
    assert not stamp.exists()


def test_compiled_kernels_are_kept_until_any_kernel_changes(tmp_path: Path) -> None:
    kernel = tmp_path / "lib/m6rec/kernels/factors/sums.py"
    # numba does not compile it.
    other = tmp_path / "lib/m6rec/kernels/factors/words.py"
    shared = tmp_path / "lib/m6rec/kernels/arrays/rows.py"
    job = tmp_path / "jobs/tell.py"
    lock, stamp = tmp_path / "requirements" / LOCK_FILE, tmp_path / "venv/.m6rec-lock"
    python = tmp_path / "venv/bin/python"
    for file in (kernel, other, shared, job, lock, python):
        file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(SCRIPT, tmp_path)
    lock.touch()
    shared.touch()
    stamp.write_text(hashlib.sha256(b"").hexdigest())
    python.symlink_to(sys.executable)
    job.write_text("import os; print(os.environ['NUMBA_CACHE_DIR'])")

    def cache(kernel_text: str, other_text: str) -> str:
        kernel.write_text(kernel_text)
        other.write_text(other_text)
        environment = shell_environment(M6REC_VENV=str(tmp_path / "venv"))
        environment.pop("NUMBA_CACHE_DIR", None)
        command = [str(tmp_path / SCRIPT.name), "tell", "--help"]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, check=True
        ).stdout

    first = cache("import numba", "a")
    assert cache("import numba", "b") == first
    assert cache("import numba as nb", "a") != first
    shared.write_text("NO_ITEM = -1")
    assert cache("import numba", "a") != first


def test_a_module_of_the_callers_folder_takes_no_modules_place_in_a_worker(tmp_path: Path) -> None:
    # A worker's Python is started by -m, for which the working folder would come first.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/colorsys.py").write_text("raise SystemExit('the wrong module')")
    (tmp_path / "jobs").mkdir()
    shutil.copy(SCRIPT, tmp_path)
    for folder, file in (("requirements", LOCK_FILE), ("venv", ".m6rec-lock")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(hashlib.sha256(b"").hexdigest() * (file[0] == "."))
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "jobs/tell.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, '-m', 'colorsys'], check=True)"
    )
    result = subprocess.run(
        [str(tmp_path / SCRIPT.name), "tell", "--help"],
        capture_output=True,
        text=True,
        env=shell_environment(M6REC_VENV=str(tmp_path / "venv")),
        cwd=tmp_path / "mine",
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_make_leaves_the_python_of_the_environment_to_the_set_up() -> None:
    printed = subprocess.run(
        ["make", "--eval=tell:; @printenv PYTHON", "tell"],
        capture_output=True,
        text=True,
        env=shell_environment(PYTHON="/opt/python3.11"),
        cwd=REPOSITORY,
        check=True,
    )
    assert printed.stdout == "/opt/python3.11\n"


@pytest.fixture(scope="module")
def job_without_column(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], str]:
    """A job whose table lacks a column: how it ended, and where its JVM found its classes."""
    folder = tmp_path_factory.mktemp("job")
    loaded = folder / "classes.log"
    result = submit(
        "prepare_interactions",
        *("--config", str(write_config(folder)), "--set", "interactions.columns.item=sku"),
        cwd=folder,
        MASTER="local[2]",
        SPARK_SUBMIT_OPTS=f"-Xlog:class+load:file={loaded}",
    )
    return result, loaded.read_text()


@pytest.mark.slow
def test_a_missing_column_ends_with_code_2_and_its_name(
    job_without_column: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    result, _ = job_without_column
    assert result.returncode == 2
    assert "has no column ['sku']" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_trace_of_an_error_that_spark_throws_is_in_the_log_alone(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    below_a_file = f"lake={config}/lake"
    result = submit(
        "prepare_interactions",
        *("--config", str(config), "--set", below_a_file),
        cwd=tmp_path,
        MASTER="local[2]",
    )
    assert result.returncode == 2
    started, error = result.stderr.splitlines()
    assert error.startswith("error: a place of the config cannot be used")
    assert "Traceback" not in result.stdout
    assert "Traceback" in Path(started.partition("its log: ")[2]).read_text()


def test_traces_of_what_a_signal_ends_are_hidden_and_what_a_job_says_is_shown() -> None:
    script = SCRIPT.read_text()
    function = script[script.index("hide_noise() {") : script.rindex('main "$@"')]
    trace = (
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in f',
        "py4j.Error: x",
        "",
    )
    logged = (
        "fold_in: batch 3: 6 events",
        "ERROR:root:Exception while sending command.",
        *trace,
        "During handling of the above exception, another exception occurred:",
        *trace,
        "26/11/30 05:33:02 ERROR MicroBatchExecution: Query fold_in terminated with error",
        "org.apache.spark.SparkException: [INTERNAL_ERROR] No active session",
        *trace,
        "26/11/30 05:33:03 ERROR Utils: Aborting task",
        "java.lang.Error",
        "ERROR:root:Exception while sending command.",
        *trace,
        "\tat org.apache.spark.Some.scala",
        'Exception in thread "stream execution thread for fold_in [id = 1]" java.lang.Error',
        "Caused by: RpcEnv already stopped.",
        "netlib-blas: JNI_OnLoad: dlopen(libblas.so.3) failed: libblas.so.3: cannot open",
        "26/11/30 06:01:29 ERROR HiveAlterHandler: Failed to alter table recommender.runs",
        "error: said by the job",
        "Traceback (most recent call last):",
    )
    shown = subprocess.run(
        ["bash", "-c", f"{function}\nhide_noise"],
        input="\n".join(logged) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == [logged[0], *logged[-2:]]


@pytest.mark.slow
def test_who_presses_ctrl_c_is_told_how_a_run_goes_on(tmp_path: Path) -> None:
    config = ("--config", str(write_config(tmp_path)))
    with subprocess.Popen(
        [str(SCRIPT), "prepare_interactions", *config],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=shell_environment(MASTER="local[2]"),
        cwd=tmp_path,
        # A terminal sends the signal to all processes of the command.
        start_new_session=True,
    ) as command:
        assert command.stdout is not None and command.stderr is not None
        while "run id" not in command.stdout.readline():
            assert command.poll() is None
        os.killpg(command.pid, signal.SIGINT)
        said = command.stderr.read()
    assert command.returncode == 130
    assert said.endswith("by the same command with --run-id\n")


@pytest.mark.slow
@pytest.mark.skipif(not CLASS_ARCHIVE.exists(), reason="no Java when this environment was set up")
def test_a_job_finds_most_classes_in_the_archive_of_the_set_up(
    job_without_column: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    _, loaded = job_without_column
    # "top" is the archive of the set-up; below it lies the JVM's own.
    archived, from_jars = loaded.count("source: shared objects file (top)"), loaded.count(".jar\n")
    assert archived > 4 * from_jars


@pytest.mark.slow
def test_pack_makes_an_archive_whose_python_has_the_packages(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "packed.py").write_text("WORD = 'here'\n")
    # A small environment that counts as set up stands for the real one of 6 GB.
    lock = (REPOSITORY / "requirements" / LOCK_FILE).read_bytes()
    (environment / ".m6rec-lock").write_text(hashlib.sha256(lock).hexdigest())
    folders = {"M6REC_VENV": str(environment), "M6REC_CACHE": str(tmp_path / "cache")}
    result = submit("pack", **registry_variables(), **folders)
    assert result.returncode == 0, result.stderr
    archive = tmp_path / f"cache/environment-{LANE}.tar.gz"
    assert f"ARCHIVES={archive}" in result.stderr
    assert "Completed" not in result.stdout
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    python = tmp_path / "unpacked/bin/python"
    command = [python, "-c", "import packed; print(packed.WORD)"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout == "here\n"
    # What points to the packing machine's copy of the package stays there.
    packed = next((tmp_path / "unpacked").glob("lib/python*/site-packages"))
    assert (site / "m6rec.pth").exists() and not (packed / "m6rec.pth").exists()
