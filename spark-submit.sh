#!/usr/bin/env bash
# Runs a job of M6-Rec with Spark, after setting up what it needs. See ./spark-submit.sh --help.
set -euo pipefail
# They would give the environment's Python another standard library, or take out its assertions.
unset PYTHONHOME PYTHONOPTIMIZE

SCRIPT="${BASH_SOURCE[0]}"
while [[ -L "$SCRIPT" ]]; do
    target="$(readlink -- "$SCRIPT")"
    [[ "$target" == /* ]] || target="$(dirname -- "$SCRIPT")/$target"
    SCRIPT="$target"
done
ROOT="$(CDPATH='' cd -- "$(dirname -- "$SCRIPT")" && pwd)"
readonly ROOT
readonly CACHE="${M6REC_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/m6rec}"
readonly LANE="${LANE:-main}"
case "$LANE" in
    main) venv_of_lane=.venv lock_of_lane=lock ;;
    *) venv_of_lane=".venv-$LANE" lock_of_lane="$LANE" ;;
esac
readonly VENV="${M6REC_VENV:-$ROOT/$venv_of_lane}"
readonly BOOTSTRAP="$CACHE/bootstrap"
readonly LOCK="$ROOT/requirements/$lock_of_lane.txt"
readonly CLASSES="$VENV/jvm-classes.jsa"
readonly UV_VERSION=0.13.9
readonly VENV_PACK_VERSION=0.2.0
readonly NEEDED_GIB="${M6REC_DISK_GIB:-12}"
readonly DAYS_KEPT=30
readonly MASTER="${MASTER:-local[*]}"
readonly DEPLOY_MODE="${DEPLOY_MODE:-client}"
readonly ARCHIVES="${ARCHIVES:-}"
COMPILER_OPTIONS=""
SPARK_PROPERTIES=""

main() {
    [[ -f "$LOCK" ]] || fail "LANE=$LANE is unknown: there is no $LOCK." "Lanes: main, current, long-lived."
    case "${1:-}" in
        "" | -h | --help | help) print_help ;;
        setup)
            set_up_environment
            set_up
            if [[ "${2:-}" == --packages ]]; then fetch_delta; else archive_classes; fi
            ;;
        pack) set_up; link_package; pack_environment ;;
        *) run_job "$@" ;;
    esac
}

print_help() {
    cat <<HELP
Usage: ./spark-submit.sh JOB [options of the job]
       ./spark-submit.sh JOB --help       explain a job
       ./spark-submit.sh setup            only set up, with a first run by which jobs start faster
                                          (with --packages, without that run)
       ./spark-submit.sh pack             pack the environment for a cluster (\$ARCHIVES)

Every call sets up what is missing: a virtual environment from requirements/$lock_of_lane.txt. It needs
Python 3.11 and Java 17 or 21 and, the first time, PyPI, Maven Central and $NEEDED_GIB GiB of disk.

Jobs:
$(list_jobs)

Options of most jobs (JOB --help has all of its own; clean, forget and fold_in have no --run-id, check has
the first two, and demo, quality, robustness and examples have others):
  --config FILE             the configuration (examples in conf/); required
  --set SECTION.KEY=VALUE   replace a value of it; repeatable
  --run-id ID               the run; given again, the run resumes (publish and rerun need it)
  --output DIR              folder for reports, and for tables in DIR/lake

Environment:
  MASTER        Spark master                                [local[*]]
  DEPLOY_MODE   client or cluster                           [client]
  PROPERTIES    Spark properties file    [conf/spark-local.conf; on a cluster conf/spark-cluster.conf]
                or several with commas between, of which a later one wins
  ARCHIVES      packed environment that executors unpack; without it they use their own python3.11
  FILES         other files that a driver in cluster mode finds in its folder, with commas between
  DRY_RUN       1 prints the command of spark-submit and runs nothing                          [0]
  LANE          main; current: Spark 4.2 and the libraries of today; long-lived: Spark 3.5  [main]
  M6REC_VENV    the virtual environment                     [.venv; of another lane .venv-LANE]
  M6REC_CACHE   caches: uv, compiled kernels, data, logs    [~/.cache/m6rec]
  M6REC_VERBOSE 1 shows the log of Spark as it goes         [0: in the cache's logs/]
  M6REC_DISK_GIB  free disk that the set-up asks for        [12]
  PYTHON        the Python 3.11 that sets up                [the first that is found]

Exit code: the job's own; 2 where something has to be put right first (the message says what);
3 where a guard keeps a run from being published; 1 where something failed that nobody has foreseen, and of
rerun where lists differ.
HELP
}

list_jobs() {
    local file summary
    for file in "$ROOT"/jobs/*.py; do
        [[ "$(basename "$file")" == __init__.py ]] && continue
        summary="$(sed -n '1s/^"""\([^"]*\).*/\1/p' "$file")"
        printf '  %-22s %s\n' "$(basename "$file" .py)" "$summary"
    done
}

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '       %s\n' "$@" >&2
    exit 2
}

say() {
    printf '%s\n' "$*" >&2
}

# Makes a folder of the cache, or the cache itself.
make_cache() {
    mkdir -p "$CACHE${1:+/$1}" && [[ -w "$CACHE${1:+/$1}" ]] || fail_cache
}

fail_cache() {
    fail "the cache $CACHE cannot be written." \
        "Free some space, or set M6REC_CACHE to a folder that can be written."
}

# --- set-up -----------------------------------------------------------------------------------

set_up() {
    local stamp="$VENV/.m6rec-lock"
    local wanted
    wanted="$(checksum "$LOCK")"
    [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" && -x "$VENV/bin/python" ]] && return
    local lane_stamp="$VENV/.m6rec-lane" made_for
    if [[ -f "$lane_stamp" ]] && made_for="$(cat "$lane_stamp")" && [[ "$made_for" != "$LANE" ]]; then
        fail "$VENV is the environment of lane $made_for; a set-up for LANE=$LANE would replace its packages." \
            "Unset M6REC_VENV, so that each lane has its own, or set it to another folder."
    fi
    local python
    python="$(find_python)"
    check_disk
    make_cache
    install_uv "$python"
    say "[1/3] virtual environment $VENV"
    [[ -x "$VENV/bin/python" ]] || "$python" -m venv "$VENV" ||
        fail "cannot make a virtual environment in $VENV; install the venv module of $python" \
            "(Debian: apt install python3.11-venv) or set M6REC_VENV to a folder that can be written."
    say "[2/3] packages of requirements/$lock_of_lane.txt (some 6 GB; a minute or more the first time)"
    # A set-up that is cut off leaves packages of no lock.
    rm -f "$stamp"
    # Compiled once here: every Python worker of Spark imports torch and numba anew.
    run_uv pip sync --python "$VENV/bin/python" --compile-bytecode --require-hashes "$LOCK" ||
        fail_registry "the packages of requirements/$lock_of_lane.txt"
    # The JVM reads no classes from an archive of jars that have been installed anew.
    rm -f "$CLASSES" "$VENV/.m6rec-classes"
    say "[3/3] M6-Rec itself"
    link_package
    printf '%s' "$LANE" >"$lane_stamp"
    printf '%s' "$wanted" >"$stamp"
    say "set-up done"
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        [[ -n "$candidate" ]] && is_python_311 "$candidate" && command -v "$candidate" && return
    done
    fail "Python 3.11 not found; found: $(python3 --version 2>&1 || echo none)." \
        "Install it (Debian/Ubuntu: apt install python3.11 python3.11-venv; macOS: brew install python@3.11;" \
        "anywhere: uv python install 3.11) or set PYTHON to its path, and start again."
}

is_python_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

check_disk() {
    local folder="$VENV"
    while [[ ! -d "$folder" ]]; do folder="$(dirname "$folder")"; done
    local free
    free="$(df -Pk "$folder" | awk 'NR == 2 {print int($4 / 1048576)}')"
    ((free >= NEEDED_GIB)) || fail \
        "only $free GiB free for $VENV, $NEEDED_GIB GiB are needed (torch with CUDA alone takes 5.5)." \
        "Free some space, or set M6REC_VENV and M6REC_CACHE to folders on a larger disk."
}

install_uv() {
    local python="$1"
    [[ -x "$BOOTSTRAP/bin/uv" ]] && return
    say "[0/3] uv $UV_VERSION"
    "$python" -m venv "$BOOTSTRAP" || fail "cannot make a virtual environment in $BOOTSTRAP." \
        "Install the venv module of $python (Debian: apt install python3.11-venv), or set M6REC_CACHE."
    "$BOOTSTRAP/bin/python" -m pip install --quiet "uv==$UV_VERSION" || fail_registry "uv"
}

run_uv() {
    UV_LINK_MODE="${UV_LINK_MODE:-hardlink}" "$BOOTSTRAP/bin/uv" "$@"
}

# A .pth file instead of an editable install: nothing to build, and the repository stays clean.
# venv-pack takes an environment for editable whose .pth file has a folder as a line of its own.
link_package() {
    "$VENV/bin/python" - "$ROOT" <<'PYTHON'
import pathlib, sys, sysconfig

file = pathlib.Path(sysconfig.get_path("purelib")) / "m6rec.pth"
file.write_text(f"import sys; sys.path += {[sys.argv[1] + '/lib', sys.argv[1]]!r}\n")
PYTHON
}

fail_registry() {
    fail "could not install $1: see the lines above. Is the package registry reachable?" \
        "Check the network and the proxy, or name a mirror (PIP_INDEX_URL and UV_INDEX_URL), and start again."
}

checksum() {
    "$(command -v sha256sum || command -v gsha256sum || echo shasum)" "$1" | cut -d' ' -f1
}

check_java() {
    local found
    found="$(java_version | sed -n 's/.*version "\([0-9]*\).*/\1/p;')"
    [[ "$found" == 17 || "$found" == 21 ]] || fail \
        "Java 17 or 21 is needed; found ${found:-none} (looked at $(java_command))." \
        "Install it (Debian/Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17;" \
        "any: https://adoptium.net) and set JAVA_HOME to its folder, and start again."
}

java_command() {
    printf '%s' "${JAVA_HOME:+$JAVA_HOME/bin/}java"
}

# The first line of what Java says of itself; nothing without Java.
java_version() {
    { "$(java_command)" -version 2>&1 || true; } | sed -n '/version "/{p;q;}'
}

# A job's JVM reads some ten thousand classes; from an archive of them that takes it four seconds less.
# Made for the JVM and the packages that are there; jobs run without it, too.
# The pipeline runs once on a few rows: see m6rec.startup.first_run.
archive_classes() {
    local stamp="$VENV/.m6rec-classes" wanted partial="$CLASSES.$$" tables
    wanted="$(java_version) $(checksum "$LOCK")"
    [[ "$wanted" == *version* ]] || return 0
    [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]] && return
    say "a first run, for jobs to find classes and kernels compiled (some minutes, once)"
    rm -f "$CLASSES"
    make_cache logs
    tables="$(mktemp -d)"
    "$VENV/bin/python" -m m6rec.startup.first_run "$tables"
    SPARK_SUBMIT_OPTS="-XX:ArchiveClassesAtExit=\"$partial\" -XX:TieredStopAtLevel=1 ${SPARK_SUBMIT_OPTS:-}" \
        submit_of_setup "$ROOT/jobs/pipeline.py" --config "$tables/config.yaml" \
        --output "$tables/output" >"$CACHE/logs/first-run.log" 2>&1 || true
    rm -rf "$tables"
    if [[ -f "$partial" ]]; then
        mv -f "$partial" "$CLASSES"
        printf '%s' "$wanted" >"$stamp"
    else
        say "could not ($CACHE/logs/first-run.log says why): jobs start slower, nothing else"
    fi
}

# Two JVMs that fetch the same jars for the first time get in each other's way.
fetch_delta() {
    make_cache logs
    # Of a program, Spark fetches the packages before it starts it; this one does nothing.
    submit_of_setup "$ROOT/lib/m6rec/__init__.py" >"$CACHE/logs/fetch.log" 2>&1 ||
        fail "could not fetch Delta Lake from Maven Central: $CACHE/logs/fetch.log says why." \
            "Name a proxy (SPARK_SUBMIT_OPTS='-Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT') or a mirror" \
            "(DEFAULT_ARTIFACT_REPOSITORY=URL), and start again."
}

submit_of_setup() {
    PYSPARK_PYTHON="$VENV/bin/python" PYSPARK_DRIVER_PYTHON="$VENV/bin/python" \
        "$VENV/bin/spark-submit" --master 'local[2]' --properties-file "$ROOT/conf/spark-local.conf" \
        $(options_of_lane "$ROOT/conf/spark-local.conf") "$@"
}

# --- running ----------------------------------------------------------------------------------

run_job() {
    local job="$1"
    shift
    [[ "$job" != tune || "$DEPLOY_MODE" == client ]] || fail \
        "tune keeps its search on the driver's disk, which on the cluster is gone when it ends; leave out \
DEPLOY_MODE=cluster."
    local file="$ROOT/jobs/$job.py"
    [[ "$job" =~ ^[A-Za-z_]+$ && -f "$file" && "$job" != __init__ ]] || fail \
        "there is no job $job." "Jobs: $(list_jobs | awk '{printf "%s ", $1}')"
    set_up_environment
    if asks_for_help "$@"; then
        set_up
        exec "$VENV/bin/python" "$file" --help
    fi
    check_java
    set_up
    SPARK_PROPERTIES="$(properties_file)"
    tell_where_paths_are
    check_arguments "$job" "$@"
    submit "$file" "$@"
}

asks_for_help() {
    local argument
    for argument in "$@"; do
        [[ "$argument" == --help || "$argument" == -h ]] && return 0
    done
    return 1
}

set_up_environment() {
    export PYTHONPATH="$ROOT/lib:$ROOT${PYTHONPATH:+:$PYTHONPATH}"
    export NUMBA_CACHE_DIR="${NUMBA_CACHE_DIR:-$CACHE/numba/$LANE-$(kernels_checksum)}"
    export M6REC_CACHE="$CACHE"
    export PYTHONDONTWRITEBYTECODE="${PYTHONDONTWRITEBYTECODE:-1}"
    # A file of the caller's folder does not stand in for a module, such as yaml.py for yaml, neither
    # here nor in the driver and in local mode's Python workers.
    export PYTHONSAFEPATH=1
    # The tests of lane current pass with the pandas of its lock file, of which PySpark warns.
    local known_warning="ignore:PySpark does not yet fully support pandas:FutureWarning"
    export PYTHONWARNINGS="${PYTHONWARNINGS:+$PYTHONWARNINGS,}$known_warning"
    # A thread of OpenMP, such as one of torch, keeps its core busy while it waits for the others. Where
    # Spark or another process needs that core, the others wait for it, and training takes twice as long.
    export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
    # Likewise a thread of OpenBLAS, that of NumPy and SciPy, for 2^26 cycles after each product.
    export OPENBLAS_THREAD_TIMEOUT="${OPENBLAS_THREAD_TIMEOUT:-16}"
    # A pip-installed Spark finds its own home; another one in the environment would win over it.
    unset SPARK_HOME
}

# numba compiles a function anew when its file has changed, but not when a function that it calls, of
# another file, has. So each state of all compiled kernels has a cache of its own, and of what they take
# from the package arrays.
kernels_checksum() {
    (
        LC_ALL=C
        cd "$ROOT/lib/m6rec/kernels" && cat $(grep -l numba -- */*.py) arrays/*.py
    ) | cksum | cut -d' ' -f1
}

# What the checks of a configuration do not see for themselves.
tell_where_paths_are() {
    local default
    default="$(property 'spark\.hadoop\.fs\.default(FS|\.name)' "$SPARK_PROPERTIES")"
    [[ -z "$default" || "$default" == file:* ]] || export M6REC_DEFAULT_FILE_SYSTEM="$default"
    # It may see folders that this machine does not, such as the volume of a pod.
    [[ "$DEPLOY_MODE" == client ]] || export M6REC_DRIVER_ELSEWHERE=1
}

# The value of a property, named by a pattern, in a properties file; nothing where it has none.
property() {
    sed -nE "s/^[[:space:]]*($1)([[:space:]]*[=:][[:space:]]*|[[:space:]]+)//p" "$2" | tail -n 1
}

# A wrong option, configuration or run id stops here, in a second, before a JVM starts. Of a right one
# it follows which of the JVM's compilers the job starts with.
check_arguments() {
    local job="$1" has_config=no
    local arguments=(--job "$job")
    shift
    "$VENV/bin/python" -m m6rec.startup.options "$ROOT/jobs/$job.py" "$@" || exit $?
    while (($#)); do
        case "$1" in
            --config | --set | --output | --run-id)
                [[ "$1" == --config ]] && has_config=yes
                arguments+=("$1" "$2")
                shift 2
                ;;
            --config=* | --set=* | --output=* | --run-id=*)
                [[ "$1" == --config=* ]] && has_config=yes
                arguments+=("$1")
                shift
                ;;
            --rollback | --history)
                [[ "$job" != publish ]] || arguments+=("$1")
                shift
                ;;
            *) shift ;;
        esac
    done
    [[ "$has_config" == no ]] ||
        COMPILER_OPTIONS="$("$VENV/bin/python" -m m6rec.command_line "${arguments[@]}")" || exit $?
}

is_local() {
    [[ "$MASTER" == local || "$MASTER" == local\[* ]]
}

submit() {
    local file="$1"
    shift
    local options=(--master "$MASTER" --deploy-mode "$DEPLOY_MODE") zip
    local arguments=("$@")
    if [[ "$DEPLOY_MODE" == cluster ]]; then
        # Spark would hand them to the driver, which has another Python and the package as a zip. By the
        # Python it finds its home, too.
        unset PYSPARK_DRIVER_PYTHON PYTHONPATH
        SPARK_HOME="$("$VENV/bin/python" -c 'import pyspark; print(pyspark.__path__[0])')"
        export SPARK_HOME
        ship_files
    else
        export PYSPARK_DRIVER_PYTHON="$VENV/bin/python"
    fi
    if is_local; then
        export PYSPARK_PYTHON="$VENV/bin/python"
        set_jvm_options
    else
        make_cache
        zip="$(zip_package)" || fail_cache
        options+=(--py-files "$zip")
        ship_environment
    fi
    options+=(--properties-file "$SPARK_PROPERTIES" $(options_of_lane "$SPARK_PROPERTIES"))
    local command=("$VENV/bin/spark-submit" "${options[@]}" "$file" ${arguments[@]+"${arguments[@]}"})
    if [[ "${DRY_RUN:-0}" == 1 ]]; then
        printf '%q ' "${command[@]}"
        echo
        return
    fi
    run_quietly "${command[@]}"
}

# A driver on the cluster finds what is shipped in its own folder, by its name alone.
ship_files() {
    local files="${FILES:-}" place
    for ((place = 0; place < ${#arguments[@]}; place++)); do
        case "${arguments[place]}" in
            --config)
                files+="${files:+,}${arguments[place + 1]}"
                arguments[place + 1]="$(basename "${arguments[place + 1]}")"
                ;;
            --config=*)
                files+="${files:+,}${arguments[place]#--config=}"
                arguments[place]="--config=$(basename "${arguments[place]#--config=}")"
                ;;
        esac
    done
    [[ -z "$files" ]] || options+=(--files "$files")
}

# The properties files name Delta, and possibly other packages, for the Spark of the main lane and its Hadoop.
options_of_lane() {
    local delta hadoop packages credentials
    case "$LANE" in
        current) delta=io.delta:delta-spark_4.2_2.13:4.4.0 hadoop=3.5.0 ;;
        long-lived) delta=io.delta:delta-spark_2.12:3.3.3 hadoop=3.3.4 ;;
        *) return ;;
    esac
    packages="$(property 'spark\.jars\.packages' "$1" | tr -d '[:space:]' | tr , '\n' |
        sed -E "/^io\.delta:delta-spark/d; s/^(org\.apache\.hadoop:[^:]+):.*/\1:$hadoop/")"
    echo --packages "$delta${packages:+,${packages//$'\n'/,}}"
    [[ "$LANE" == long-lived ]] || return 0
    # This Hadoop has an older kit of Amazon's, in which the chain of credentials has another name.
    credentials="$(property 'spark\.hadoop\.fs\.s3a\.aws\.credentials\.provider' "$1")"
    [[ "$credentials" != software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider ]] || echo --conf \
        spark.hadoop.fs.s3a.aws.credentials.provider=com.amazonaws.auth.DefaultAWSCredentialsProviderChain
}

# An archive that does not fit the JVM is passed over without a word.
set_jvm_options() {
    local archive=""
    [[ ! -f "$CLASSES" ]] || archive="-XX:SharedArchiveFile=\"$CLASSES\" -Xlog:cds*=off"
    export SPARK_SUBMIT_OPTS="$archive $COMPILER_OPTIONS ${SPARK_SUBMIT_OPTS:-}"
}

properties_file() {
    local default=spark-cluster.conf file files given
    ! is_local || default=spark-local.conf
    given="${PROPERTIES:-$ROOT/conf/$default}"
    IFS=, read -ra files <<<"$given"
    for file in "${files[@]}"; do
        [[ -f "$file" ]] || fail "Spark properties file $file does not exist; see conf/spark-*.conf."
    done
    if ((${#files[@]} > 1)); then
        # Of a property that stands there twice, Java takes the last.
        # The same names are other files elsewhere.
        given="$CACHE/properties-$(awk 1 "${files[@]}" | cksum | cut -d' ' -f1).conf"
        make_cache
        find "$CACHE" -maxdepth 1 -name 'properties-*.conf' -mtime "+$DAYS_KEPT" -delete 2>/dev/null || true
        # They may hold keys.
        (umask 077; awk 1 "${files[@]}" >"$given.$$") && mv -f "$given.$$" "$given" || fail_cache
    fi
    printf '%s' "$given"
}

# Sets how executors find Python: the packed environment where there is one.
ship_environment() {
    if [[ -n "$ARCHIVES" ]]; then
        [[ -f "$ARCHIVES" || "$ARCHIVES" == *://* ]] || fail \
            "ARCHIVES=$ARCHIVES does not exist; make it with ./spark-submit.sh pack."
        # Both properties win over the environment, and the driver would take the first for its own.
        local driver=./environment/bin/python
        [[ "$DEPLOY_MODE" == cluster ]] || driver="$VENV/bin/python"
        options+=(--archives "$ARCHIVES#environment")
        options+=(--conf spark.pyspark.python=./environment/bin/python)
        options+=(--conf "spark.pyspark.driver.python=$driver")
    else
        export PYSPARK_PYTHON="${PYSPARK_PYTHON:-python3.11}"
    fi
}

# Spark serves the package to executors from its file for as long as a job runs, whatever other jobs, clones
# or lanes send meanwhile. So each state of it has a file of its own.
zip_package() {
    find "$CACHE" -maxdepth 1 -name 'm6rec-package*' -mtime "+$DAYS_KEPT" -delete 2>/dev/null || true
    "$VENV/bin/python" -P - "$ROOT" "$CACHE" <<'PYTHON'
import hashlib, os, pathlib, sys, zipfile

root, cache = map(pathlib.Path, sys.argv[1:])
files = {}
for base, package, ending in ((root / "lib", "m6rec", ""), (root, "jobs", ""), (root, "conf", ".yaml")):
    for path in sorted((base / package).rglob(f"*{ending}")):
        if path.is_file() and "__pycache__" not in path.parts:
            # As setup.py has it, the configurations lie beside the jobs.
            place = path.relative_to(base)
            files["jobs" / place if package == "conf" else place] = path.read_bytes()
digest = hashlib.sha256()
for place, content in files.items():
    digest.update(f"{place}\0{len(content)}\0".encode() + content)
target = cache / f"m6rec-package-{digest.hexdigest()[:16]}.zip"
partial = target.with_suffix(f".{os.getpid()}")
try:
    if target.exists():
        target.touch()
    else:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for place, content in files.items():
                archive.writestr(str(place), content)
        partial.replace(target)
except OSError as error:
    sys.exit(str(error))
print(target)
PYTHON
}

pack_environment() {
    local target="$CACHE/environment-$LANE.tar.gz"
    make_cache
    [[ -x "$BOOTSTRAP/bin/python" ]] || install_uv "$(find_python)"
    "$BOOTSTRAP/bin/python" -m pip install --quiet "venv-pack==$VENV_PACK_VERSION" "setuptools<81" ||
        fail_registry "venv-pack"
    say "packing $VENV (some minutes)"
    local quiet=
    # Progress is drawn anew ten times a second, and a log would keep each drawing.
    [[ -t 1 ]] || quiet=--quiet
    "$BOOTSTRAP/bin/venv-pack" --force ${quiet:+"$quiet"} --prefix "$VENV" --output "$target" \
        --exclude "$(basename "$CLASSES")" --exclude "lib/python*/site-packages/m6rec.pth"
    say "packed. Run jobs with ARCHIVES=$target"
}

# Progress of the job is on stdout. What the JVM logs on stderr goes to a file; the lines that
# matter to the reader (errors, the job's own messages) are shown as well.
run_quietly() {
    if [[ "${M6REC_VERBOSE:-0}" == 1 ]]; then
        exec "$@"
    fi
    make_cache logs
    find "$CACHE/logs" -name '*.log' -mtime "+$DAYS_KEPT" -delete 2>/dev/null || true
    local log
    log="$CACHE/logs/$(date +%Y%m%dT%H%M%S)-$$.log"
    say "starting Spark ($MASTER); its log: $log"
    [[ "$DEPLOY_MODE" == client ]] ||
        say "the driver runs on the cluster and prints there; the log has the id of its application"
    # Spark merges the driver's stderr into stdout; the job writes its error message here instead.
    [[ ! -e "/proc/$$/fd/2" ]] || export M6REC_STDERR="/proc/$$/fd/2"
    # Ctrl-C ends the driver before it can say anything.
    local interrupted="interrupted; fold_in goes on by the same command, and a run after its last finished job"
    interrupted+=" by the same command with --run-id"
    exec "$@" 2> >(trap 'say "$interrupted"' INT; tee "$log" | hide_noise >&2)
}

# What Spark logs of a failed task is a trace, which the log keeps: the job says it in one line. So are
# the traces of py4j and of a stream whose JVM is ended by Ctrl-C or a signal. Where Hive's metastore
# does not take the columns of a Delta table, Delta keeps them beside, and goes on. Where the machine has no
# BLAS of its own, MLlib takes one in Java.
hide_noise() {
    local tab=$'\t'
    local failed='ERROR (Executor|Task[A-Za-z]+|Utils|[A-Za-z]*FileFormatWriter|[A-Za-z]*PythonRunner)'
    local next='^([0-9]{2}/[0-9]{2}/[0-9]{2} |Traceback |(error|warning|note): )'
    # Their traces are of Java and Python by turns.
    local cut_off='^ERROR:root:Exception while sending command|ERROR MicroBatchExecution'
    cut_off+='|^Exception in thread "stream execution thread'
    local said='^([0-9]{2}/[0-9]{2}/[0-9]{2} |(error|warning|note|interrupted)[:;])'
    sed -u -E -e ":start" \
        -e "\#$cut_off#{:c;\$d;N;s/^.*\n//;\#$cut_off#bc;\#$said#!bc;bstart}" \
        -e "\#$failed#{:h;\$d;N;s/^.*\n//;\#$cut_off#bstart;\#$failed#bh;\#$next#!bh;bstart}" |
        grep --line-buffered -v -E \
        -e '^([0-9]{2}/[0-9]{2}/[0-9]{2} )?[0-9:]* ?(INFO|WARN) ' \
        -e '^WARNING: (Using incubator|package |A |Use |Please consider|All illegal)' \
        -e '^(Setting |To adjust logging level|Using Spark.s default log4j|Picked up )' \
        -e "^(::(::)? |$tab|Ivy Default Cache|The jars for the packages|confs: )" \
        -e 'ERROR HiveAlterHandler: Failed to alter table' \
        -e '^netlib-(blas|lapack): ' -e 'added as a dependency$' -e '^[[:space:]]*$' || true
}

main "$@"
