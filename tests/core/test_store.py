"""The store under faults: kill -9, races, full and read-only disks, edited files, planted secrets."""
import errno
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dclm_nb.core import files
from dclm_nb.core.errors import UserError
from dclm_nb.core.store import RunStore, tree_hash

JOB = '''
import json, os, sys, time
from dclm_nb.core.files import atomic_write
from dclm_nb.core.store import RunStore

def job(config, seed, folder):
    """Counts to `steps`, saving after each; every call and step is noted beside the store."""
    log = os.environ["JOB_LOG"]
    with open(log, "a") as f: f.write("call\\n")
    saved = folder / "state.json"
    step, total = json.loads(saved.read_text()) if saved.exists() else (0, seed)
    while step < config["steps"]:
        step += 1
        total = total * 31 % 1000003 + step
        atomic_write(saved, json.dumps([step, total]))
        with open(log, "a") as f: f.write(f"step {step}\\n")
        time.sleep(config["pause"])
    return {"total": total, "state": saved}

if __name__ == "__main__":
    store, config = RunStore(sys.argv[1]), json.loads(sys.argv[2])
    runs = [store.run(job, {**config, "repeat": i}, seed=7) for i in range(config.get("keys", 1))]
    told = [[run.key, run.result, run.manifest["attempts"]] for run in runs]
    print(json.dumps(told if "keys" in config else told[0]))
'''


@pytest.fixture
def bench(tmp_path, monkeypatch):
    "A folder with job.py, a store and a log; `start(config)` begins the job in another process."
    (tmp_path / "job.py").write_text(JOB)
    monkeypatch.setenv("JOB_LOG", str(tmp_path / "log.txt"))
    (tmp_path / "log.txt").touch()
    def start(config, **env):
        command = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "store"), json.dumps(config)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
        )

    start.log = lambda: (tmp_path / "log.txt").read_text().split("\n")[:-1]
    start.store = tmp_path / "store"
    return start


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1]), err


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def double(config, seed, folder):
    (folder / "x.txt").write_text(str(2 * config["x"]))
    return {"x": 2 * config["x"]}


def test_killed_in_the_middle_then_the_same_command_ends_in_the_same_result(bench):
    config = {"steps": 8, "pause": 0.02}
    undisturbed, _ = finish(bench(config, JOB_LOG=os.devnull))
    shutil.rmtree(bench.store)
    attempts = 0
    for after in ("step 2", "step 5"):
        process = bench(config)
        wait_for(lambda: after in bench.log())
        process.send_signal(signal.SIGKILL)
        process.wait()
        attempts += 1
    assert not list(bench.store.glob("[0-9a-f]*")), "an unfinished run must not look finished"
    resumed, _ = finish(bench(config))
    assert resumed[:2] == undisturbed[:2] and resumed[2] == attempts + 1
    steps = [line for line in bench.log() if line.startswith("step")]
    assert len(steps) <= 8 + attempts, "finished steps were done again"        # the step at hand may be repeated


def test_twenty_keys_wanted_by_three_processes_at_once_are_made_once_each(bench):
    # whoever waited reaches the next key together with whom it waited for
    asking = [bench({"steps": 2, "pause": 0.01, "keys": 20}) for _ in range(3)]
    results = [finish(process)[0] for process in asking]
    assert results[0] == results[1] == results[2] and len(results[0]) == 20 == len({key for key, *_ in results[0]})
    assert bench.log().count("call") == 20


def test_the_second_waits_says_so_and_reads(bench):
    first = bench({"steps": 4, "pause": 0.3})
    wait_for(lambda: "step 1" in bench.log())
    second = bench({"steps": 4, "pause": 0.3})
    (one, _), (two, said) = finish(first), finish(second)
    assert one == two and "waiting" in said and bench.log().count("call") == 1


def test_lock_of_a_killed_holder_does_not_block(bench):
    holder = bench({"steps": 1000, "pause": 0.02})
    wait_for(lambda: "step 1" in bench.log())
    waiting = bench({"steps": 1000, "pause": 0.02})
    time.sleep(0.2)
    holder.kill(); holder.wait()
    seen = len(bench.log())
    wait_for(lambda: "call" in bench.log()[seen:], seconds=20)                  # the waiting one took over
    waiting.kill(); waiting.wait()


@pytest.mark.parametrize("damage", ["truncate", "edit", "delete", "manifest", "manifest-cut", "result"])
def test_damaged_run_is_explained_set_aside_and_made_again(tmp_path, capsys, damage):
    store = RunStore(tmp_path)
    run = store.run(double, {"x": 21})
    target = run.folder / "x.txt" if damage in ("truncate", "edit", "delete") else run.path / "manifest.json"
    if damage == "truncate": target.write_text("4")
    elif damage == "edit": target.write_text("43")
    elif damage == "delete": target.unlink()
    elif damage == "manifest-cut": target.write_bytes(target.read_bytes()[:200])
    elif damage == "manifest": target.write_text(target.read_text().replace('"seed": 0', '"seed": 1'))
    else: target.write_text(target.read_text().replace('"x": 42', '"x": 43'))
    again = store.run(double, {"x": 21})
    assert again.result == {"x": 42} and (again.folder / "x.txt").read_text() == "42"
    said = capsys.readouterr().err
    assert run.key in said and "set aside" in said and len(list((tmp_path / ".aside").iterdir())) == 1


def test_damaged_run_wanted_by_three_processes_is_set_aside_once(bench):
    (key, result, _), _ = finish(bench({"steps": 2, "pause": 0}))
    (bench.store / key / "files" / "state.json").write_text("[]")
    asking = [bench({"steps": 2, "pause": 0}) for _ in range(3)]
    assert all(finish(process)[0][:2] == [key, result] for process in asking)
    assert bench.log().count("call") == 2 and len(list((bench.store / ".aside").iterdir())) == 1


def full_disk(config, seed, folder):
    done = folder / "first-half.txt"
    if done.exists(): return {"resumed": True}
    done.write_text("kept")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "second-half.txt"))


def wrapped_full_disk(config, seed, folder):
    raise RuntimeError("safetensors: I/O error: No space left on device (os error 28)")


def too_large(config, seed, folder):
    with open(folder / "big.bin", "wb") as f:
        for _ in range(100): f.write(bytes(2**20))
    return {}


def test_full_disk_inside_a_run_is_one_line_and_loses_nothing(tmp_path):
    store = RunStore(tmp_path)
    finished = store.run(double, {"x": 1})
    with pytest.raises(UserError, match="disk is full.*finished runs are untouched.*goes on"): store.run(full_disk, {})
    assert store.run(double, {"x": 1}).manifest == finished.manifest and not finished.damage()
    assert store.run(full_disk, {}).result == {"resumed": True}


def test_full_disk_reported_by_a_library_in_its_own_words(tmp_path):
    with pytest.raises(UserError, match="disk is full"): RunStore(tmp_path).run(wrapped_full_disk, {})


def user_error_from_a_full_disk(config, seed, folder):
    from dclm_nb.core.files import disk_error
    raise disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "another/place") from OSError(errno.ENOSPC, "x")


def test_full_disk_elsewhere_keeps_its_own_words(tmp_path):
    with pytest.raises(UserError, match="cannot write another/place: the disk is full.*untouched"):
        RunStore(tmp_path).run(user_error_from_a_full_disk, {})


def test_odd_text_and_numbers_in_a_result_survive(tmp_path):
    def odd(config, seed, folder): return {"text": "\ud800 é \x00", "loss": float("nan"), "best": float("inf")}
    run = RunStore(tmp_path).run(odd, {})
    assert (
        run.result["text"] == "\ud800 é \x00"
        and run.result["loss"] != run.result["loss"]
        and run.result["best"] == float("inf")
    )
    assert RunStore(tmp_path).get(run.key).result["text"] == run.result["text"]


def test_file_size_limit_is_met_by_a_real_write(tmp_path):
    code = f"""
import resource, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
from test_store import too_large
from dclm_nb.core.store import RunStore
from dclm_nb.core.errors import UserError
try: RunStore({str(tmp_path)!r}).run(too_large, {{}})
except UserError as e: print(e)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ulimit -f" in out.stdout and "untouched" in out.stdout, out.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace", "rename"])
def test_disk_fault_at_each_step_of_publishing(tmp_path, monkeypatch, number, call):
    store = RunStore(tmp_path)
    kept = store.run(double, {"x": 1})
    real = getattr(os, call)
    def broken(*args, **kwargs): raise OSError(number, os.strerror(number))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        with pytest.raises(UserError, match="untouched"): store.run(double, {"x": 2})
    assert (
        getattr(os, call) is real and not RunStore(tmp_path).run(double, {"x": 1}).damage() and kept.result == {"x": 2}
    )
    assert store.run(double, {"x": 2}).result == {"x": 4}


def test_read_only_store_still_serves_finished_runs(tmp_path, monkeypatch):
    store = RunStore(tmp_path / "store")
    store.run(double, {"x": 1})
    real = os.open
    # permissions do not stop root, so the system call does
    def read_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT): raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *args, **kwargs)
    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(
        Path,
        "mkdir",
        lambda self, *a, **k: (
            None if self.is_dir() else (_ for _ in ()).throw(OSError(errno.EROFS, os.strerror(errno.EROFS), str(self)))
        ),
    )
    assert store.run(double, {"x": 1}).result == {"x": 2}
    with pytest.raises(UserError, match="read-only"): store.run(double, {"x": 3})


@pytest.mark.skipif(os.getuid() == 0, reason="permissions do not stop root")
def test_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission"): RunStore(tmp_path).run(double, {"x": 3})
    tmp_path.chmod(0o700)


def test_real_full_file_system(tmp_path):
    "A 1 MB tmpfs, where the machine lets us mount one."
    if (
        os.getuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode
    ):
        pytest.skip("cannot mount a small file system here")
    try:
        store = RunStore(tmp_path)
        store.run(double, {"x": 1})
        with pytest.raises(UserError, match="disk is full"): store.run(too_large, {})
        assert store.run(double, {"x": 1}).result == {"x": 2} and [f.name for f in store.abandoned()]
    finally: subprocess.run(["umount", tmp_path], check=True)


def test_error_of_the_function_keeps_its_type_and_says_where_the_work_is(tmp_path):
    def fails(config, seed, folder): raise ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError) as caught: RunStore(tmp_path).run(fails, {})
    assert any("goes on from it" in note for note in caught.value.__notes__)


def leaks(config, seed, folder): return {"message": f"401 for {os.environ.get('MY_HUB_TOKEN')}", "url": config["url"]}


def test_planted_token_reaches_no_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_HUB_TOKEN", "hf_planted0123456789")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted/key+9876")
    RunStore(tmp_path).run(leaks, {"url": "https://user:pw1234@host/data?key=planted/key+9876"})
    written = "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    for secret in ("hf_planted", "planted/key", "pw1234"): assert secret not in written
    assert "removed" in written


def test_manifest_names_neither_machine_nor_user_nor_folder(tmp_path):
    import getpass
    import platform
    manifest = (RunStore(tmp_path).run(double, {"x": 1}).path / "manifest.json").read_text()
    assert str(tmp_path) not in manifest and str(Path.home()) not in manifest
    machine = json.dumps(json.loads(manifest)["host"]).lower().split()
    assert platform.node().lower() not in machine and getpass.getuser().lower() not in machine
    wanted = {
        "key",
        "function",
        "code",
        "config",
        "seed",
        "inputs",
        "parents",
        "git",
        "versions",
        "host",
        "wall_s",
        "cpu_s",
        "peak_memory_mb",
        "flops",
        "files",
        "started",
        "finished",
    }
    assert wanted <= set(json.loads(manifest))


def test_key_is_the_same_in_every_process(tmp_path):
    keys = set()
    for hash_seed, locale in (("0", "C"), ("1", "C.UTF-8"), ("4242", "POSIX")):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from test_store import double; from dclm_nb.core.store "
            "import Recipe; print(Recipe.of(double, {'b': {'z': 1, 'a': [1.5, None]}, 'a': 'é'}, 3, {'t': 'x', 's': "
            "'y'}).key)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": locale, "TZ": "Asia/Tokyo"},
            timeout=60,
        )
        keys.add(out.stdout.strip())
    assert len(keys) == 1


def test_inputs_by_content_by_run_and_by_parent(tmp_path):
    def uses(config, seed, folder, inputs):
        return {"text": (inputs["pool"].folder / "x.txt").read_text(), "note": inputs["note"].read_text()}

    store = RunStore(tmp_path / "store")
    pool, other = store.run(double, {"x": 1}), store.run(double, {"x": 2})
    note = tmp_path / "note.txt"
    note.write_text("hello")
    run = store.run(uses, {}, inputs={"pool": pool, "note": note})
    assert run.result == {"text": "2", "note": "hello"} and run.manifest["parents"] == [pool.key]
    moved = note.rename(tmp_path / "elsewhere.txt")
    assert store.run(uses, {}, inputs={"pool": pool, "note": moved}).key == run.key
    moved.write_text("other")
    assert store.run(uses, {}, inputs={"pool": pool, "note": moved}).key != run.key
    assert store.run(double, {"x": 5}, parents=[pool]).key != store.run(double, {"x": 5}, parents=[other]).key


def test_force_makes_it_again_from_the_start_and_keeps_the_old_one(tmp_path):
    (tmp_path / "n").write_text("0")
    def counts(config, seed, folder):
        counter = Path(config["counter"])
        counter.write_text(str(int(counter.read_text()) + 1))
        return {"n": int(counter.read_text()), "clean": not list(folder.iterdir())}
    store, config = RunStore(tmp_path / "store"), {"counter": str(tmp_path / "n")}
    assert store.run(counts, config).result["n"] == store.run(counts, config).result["n"] == 1
    assert store.run(counts, config, force=True).result == {"n": 2, "clean": True} == store.run(counts, config).result
    assert len(list((tmp_path / "store" / ".aside").iterdir())) == 1


def test_config_cannot_be_changed_by_the_function_and_paths_become_relative(tmp_path):
    def rude(config, seed, folder):
        config["x"].append(9)
        (folder / "sub").mkdir()
        (folder / "sub" / "m.bin").write_bytes(b"m")
        return {"checkpoint": str(folder / "sub" / "m.bin"), "x": config["x"]}
    config = {"x": [1]}
    run = RunStore(tmp_path).run(rude, config)
    assert config == {"x": [1]} == run.manifest["config"]
    assert run.result["checkpoint"] == "sub/m.bin" and (run.folder / run.result["checkpoint"]).read_bytes() == b"m"


def test_list_get_and_gc(tmp_path):
    store = RunStore(tmp_path)
    assert store.list() == [] and store.gc() == []
    runs = [store.run(double, {"x": x}) for x in range(3)]
    assert [r.key for r in store.list()] == [r.key for r in sorted(runs, key=lambda r: r.manifest["finished"])]
    assert store.get(runs[1].key[:10]).result == {"x": 2}
    for bad in ("", "nothing"):
        with pytest.raises(UserError): store.get(bad)
    with pytest.raises(UserError): store.run(full_disk, {})
    (abandoned, size), = store.gc()
    assert abandoned.exists() and size > 0
    with files.exclusive(tmp_path / ".locks" / abandoned.name):
        assert store.gc(delete=True) == [] and abandoned.exists()
    assert store.gc(delete=True) == [(abandoned, size)] and not abandoned.exists() and len(store.list()) == 3


def test_why_names_config_seed_inputs_code_and_versions(tmp_path):
    store = RunStore(tmp_path)
    run = store.run(double, {"x": 1, "model": {"layers": 2}}, inputs={"tokens": "aa"})
    lines = "\n".join(store.why(double, {"x": 1, "model": {"layers": 4}, "new": True}, seed=3, inputs={"tokens": "bb"}))
    for wanted in (
        run.key,
        "config.model.layers: 2 -> 4",
        "config.new: (absent) -> true",
        "seed: 0 -> 3",
        'input.tokens: "aa" -> "bb"',
        "is not stored",
    ):
        assert wanted in lines
    assert "config.x" not in lines
    assert "no other run" in "\n".join(store.why(run.key))
    store.run(double, {"x": 1, "model": {"layers": 9}}, inputs={"tokens": "aa"})
    assert "config.model.layers: 9 -> 2" in "\n".join(store.why(run.key))


def test_why_names_the_definition_whose_code_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "toy_study.py"
    source.write_text(
        "RATE = 1\ndef step(x): return x + RATE\ndef train(config, seed, folder): return {'x': step(1)}\n"
    )
    import toy_study
    store = RunStore(tmp_path / "store")
    store.run(toy_study.train, {})
    source.write_text(
        "RATE = 21\ndef step(x): return x + RATE  # faster\ndef train(config, seed, folder): return {'x': step(1)}\n"
    )
    with pytest.raises(UserError, match="restart the kernel"): store.why(toy_study.train, {})
    importlib.reload(toy_study)
    assert store.why(toy_study.train, {})[2:] == ["code of toy_study.RATE: changed"]


def test_tree_hash_sees_names_and_contents(tmp_path):
    for name in ("a", "b"): (tmp_path / name).mkdir(); (tmp_path / name / "f.txt").write_text("same")
    assert tree_hash(tmp_path / "a") == tree_hash(tmp_path / "b")
    (tmp_path / "b" / "f.txt").rename(tmp_path / "b" / "g.txt")
    assert tree_hash(tmp_path / "a") != tree_hash(tmp_path / "b")


def test_peak_memory_is_the_runs_own(tmp_path):
    def small(config, seed, folder): return {}
    def large(config, seed, folder): return {"n": len(b"x" * 150 * 2**20)}
    if not Path("/proc/self/clear_refs").exists(): pytest.skip("needs Linux")
    store = RunStore(tmp_path)
    first, second = store.run(large, {}).manifest["peak_memory_mb"], store.run(small, {}).manifest["peak_memory_mb"]
    assert first - second > 100 and second < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + 1


# What was written is told from what is there, once in each process

def settled(config, seed, folder):
    "A file that was written a while ago."
    (folder / "x.bin").write_bytes(b"weights")
    os.utime(folder / "x.bin", ns=(10**18, 10**18))
    return {}


def _without_a_trace(path, data):
    "Other content, the same size and time: what a failing disk does."
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    _without_a_trace(path, bytes(data))


@pytest.fixture
def read(monkeypatch):
    "The names of the files that the store hashes. Nothing counts as written just now."
    from dclm_nb.core import store
    seen, real = [], store.sha256_of

    def noting(path, again=False):
        seen.append(Path(path).name)
        return real(path, again)
    monkeypatch.setattr(store, "_TICK_NS", 0)
    monkeypatch.setattr(store, "sha256_of", noting)
    return seen


def _as_another_process():
    from dclm_nb.core import store
    store._read.clear()
    files._known_hashes.clear()


def test_every_process_hashes_what_it_is_given_once(tmp_path, read):
    store = RunStore(tmp_path)
    run = store.run(settled, {})
    for _ in range(3):
        _as_another_process()
        read.clear()
        for _ in range(3): assert store.run(settled, {}).manifest == run.manifest and store.get(run.key).key == run.key
        assert read == ["x.bin"]
    assert store.get(run.key, full=True).key == run.key and read == ["x.bin"] * 2


@pytest.mark.parametrize("at", [0, 3, 6])
@pytest.mark.parametrize("same_process", [True, False])
def test_a_flipped_bit_is_seen_whatever_the_clock_says(tmp_path, read, capsys, at, same_process):
    store = RunStore(tmp_path)
    run = store.run(settled, {})
    assert store.run(settled, {}).key == run.key
    _flip(run.folder / "x.bin", at)
    if not same_process: _as_another_process()
    again = store.run(settled, {})
    assert (again.folder / "x.bin").read_bytes() == b"weights"
    assert "x.bin has other content than when it was written; set aside" in capsys.readouterr().err


def test_a_flipped_bit_is_seen_by_who_looks_up_and_by_who_verifies(tmp_path, read):
    store = RunStore(tmp_path)
    run, other = store.run(settled, {}), store.run(settled, {}, seed=1)
    _flip(run.folder / "x.bin", 2)
    with pytest.raises(UserError, match="other content"): store.get(run.key)
    assert dict(store.verify()) == {run.key: "x.bin has other content than when it was written", other.key: ""}


def test_a_file_that_had_just_been_written_is_not_remembered(tmp_path):
    store = RunStore(tmp_path)
    run = store.run(double, {"x": 21})
    assert not run.damage()
    _without_a_trace(run.folder / "x.txt", b"43")                           # within one tick of the clock
    assert run.damage() == "x.txt has other content than when it was written"


@pytest.mark.parametrize("how", ["another run", "manifest of another run", "renamed", "key edited", "config edited"])
def test_another_run_in_the_folder_of_a_key_is_set_aside(tmp_path, capsys, how):
    from dclm_nb.core.identity import hash_of
    store = RunStore(tmp_path)
    one, two = (store.run(settled, {"x": x}) for x in (1, 2))
    if how in ("another run", "renamed"):
        shutil.rmtree(one.path)
        (shutil.copytree if how == "another run" else os.rename)(two.path, one.path)
    elif how == "manifest of another run": shutil.copy(two.path / "manifest.json", one.path / "manifest.json")
    else:                                                                   # by somebody who makes its sum again
        told = dict(one.manifest, config={"x": 2}) if how == "config edited" else dict(two.manifest, key=one.key)
        text = json.dumps(told, sort_keys=True, indent=1)
        told = json.dumps({**told, "sha256": hash_of(text)}, sort_keys=True, indent=1)
        (one.path / "manifest.json").write_text(told)
    assert dict(store.verify())[one.key], "verify sees it"
    assert one.key not in [run.path.name for run in store.list()]
    again = store.run(settled, {"x": 1})
    assert again.key == one.key == again.path.name and again.manifest["config"] == {"x": 1}
    assert "set aside" in capsys.readouterr().err


def test_a_run_whose_recipe_had_a_secret_is_served(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_HUB_TOKEN", "hf_planted0123456789")
    config = {"url": "https://me:pw1234@host.org/a.tar?token=hf_planted0123456789"}
    store = RunStore(tmp_path)
    run = store.run(settled, config)
    monkeypatch.delenv("MY_HUB_TOKEN")
    assert store.run(settled, config).manifest == run.manifest and store.verify() == [(run.key, "")]


def test_the_command_verifies_and_says_what_is_damaged(tmp_path, monkeypatch, capsys):
    from dclm_nb.cli import main
    monkeypatch.setenv("DCLM_NB_HOME", str(tmp_path))
    run = RunStore(tmp_path / "runs").run(settled, {})
    for damaged, code in ((False, 0), (True, 1)):
        if damaged: _without_a_trace(run.folder / "x.bin", b"WEIGHTS")
        with pytest.raises(SystemExit) as left: main(["runs", "verify"])
        said = capsys.readouterr().out
        assert (
            left.value.code == code and f"1 stored runs read, {code} damaged" in said and (run.key in said) == damaged
        )
