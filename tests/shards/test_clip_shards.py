"""Clips written as tar shards and tables: equal bytes for equal clips, and what was cut short is made again."""
import json

import pyarrow.parquet as pq
import pytest
from damages import DAMAGES, harm
from datatrove.data import Document

from dclm_nb.core.errors import UserError
from dclm_nb.shards import clips as module
from dclm_nb.shards.clips import CLIP_SHARDS, clip_facts, clip_shard_damage, write_clip_shards, write_clip_table
from dclm_nb.shards.safe_tar import TAR_CAUSES, shard_samples
from dclm_nb.shards.tally import Tally


def clip(folder, number, **more):
    path = folder / f"cut{number}.mp4"
    if not path.exists(): path.write_bytes(bytes([number]) * (700 + number))
    facts = dict(film="a", start=2.0 * number, motion=None if number else 1.5, path=str(path)) | more
    return Document(f"scene {number}", f"a/{number:04d}", metadata=facts)


def contents(folder): return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def test_shards_give_back_what_was_written(tmp_path):
    clips = [clip(tmp_path, n) for n in range(7)]
    tally, found = Tally(TAR_CAUSES), []
    for tar in write_clip_shards(clips, tmp_path / "out", clips_per_shard=3):
        table = pq.read_table(tar.with_suffix(".parquet")).to_pylist()
        for row, (_, parts) in zip(table, shard_samples(tar, CLIP_SHARDS, tally), strict=True):
            assert json.loads(parts["json"]) == row and parts["txt"].decode() == row["text"]
            found.append((row["id"], parts["clip"]))
    assert found == [(c.id, (tmp_path / f"cut{n}.mp4").read_bytes()) for n, c in enumerate(clips)]
    assert tally.report() == {}


def test_paths_are_not_told_and_the_machine_does_not_count(tmp_path):
    (tmp_path / "b").mkdir()
    write_clip_shards([clip(tmp_path, 1)], tmp_path / "one")
    write_clip_shards([clip(tmp_path / "b", 1)], tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not any(str(tmp_path).encode() in data for data in contents(tmp_path / "one").values())


@pytest.mark.parametrize("stop", range(3))
def test_killed_and_continued_gives_the_same_bytes(tmp_path, monkeypatch, stop):
    clips = [clip(tmp_path, n) for n in range(6)]
    write_clip_shards(clips, tmp_path / "whole", clips_per_shard=2)
    write, calls = module._write_tar, []

    def killed(path, *rest):
        calls.append(path)
        if len(calls) > stop:
            path.with_name(f".{path.name}.1.ab.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        write(path, *rest)
    monkeypatch.setattr(module, "_write_tar", killed)
    with pytest.raises(KeyboardInterrupt): write_clip_shards(clips, tmp_path / "out", clips_per_shard=2)
    monkeypatch.undo()
    write_clip_shards(clips, tmp_path / "out", clips_per_shard=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_of_a_larger_set_go(tmp_path):
    clips = [clip(tmp_path, n) for n in range(6)]
    write_clip_shards(clips, tmp_path / "out", clips_per_shard=2)
    write_clip_shards(clips[:3], tmp_path / "out", clips_per_shard=2)
    write_clip_shards(clips[:3], tmp_path / "small", clips_per_shard=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "small")


def test_another_file_or_fact_is_another_shard(tmp_path):
    first = contents(write_clip_shards([clip(tmp_path, 1)], tmp_path / "out")[0].parent)
    (tmp_path / "cut1.mp4").write_bytes(b"longer" * 1000)
    second = contents(write_clip_shards([clip(tmp_path, 1)], tmp_path / "out")[0].parent)
    third = contents(write_clip_shards([clip(tmp_path, 1, fps=24)], tmp_path / "out")[0].parent)
    assert first["00000.tar"] != second["00000.tar"] != third["00000.tar"]


def test_numbers_that_are_none_are_null(tmp_path):
    odd = clip(tmp_path, 1, similarity=float("nan"), low=float("-inf"), captions={}, name="film\udcff")
    facts = clip_facts(odd)
    assert (facts["similarity"], facts["low"], facts["captions"]) == (None, None, None)
    assert facts["name"].encode() and "path" not in facts
    assert pq.read_table(write_clip_table([odd], tmp_path / "t.parquet")).to_pylist() == [facts]


def test_errors_name_the_clip(tmp_path):
    for more, message in (
        (dict(path="gone.mp4"), "'a/0001' has no file"),
        (dict(path=__file__), "is a .py"),
        (dict(motion={1}), "is a set"),
        (dict(motion="much"), "several kinds"),
    ):
        with pytest.raises(UserError, match=message):
            write_clip_shards([clip(tmp_path, 0), clip(tmp_path, 1, **more)], tmp_path / "out")
    with pytest.raises(UserError, match="at least 1"): write_clip_shards([], tmp_path / "out", 0)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["00000.tar", "00001.parquet", "00001_stats.json"])
def test_damaged_shards_are_seen_and_written_again(tmp_path, file, how):
    clips, out = [clip(tmp_path, n) for n in range(5)], tmp_path / "out"
    write_clip_shards(clips, out, clips_per_shard=3)
    before = contents(out)
    assert clip_shard_damage(out, 5) == "" and "5 clips instead of 6" in clip_shard_damage(out, 6)
    harm(out / file, how)
    assert clip_shard_damage(out, 5)
    write_clip_shards(clips, out, clips_per_shard=3)
    assert contents(out) == before and clip_shard_damage(out, 5) == ""
