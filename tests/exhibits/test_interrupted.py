"""Whoever interrupts a command is told what is kept, and only what is kept."""
import pytest

from dclm_nb import cli
from dclm_nb.core import store


class Finished:
    def __init__(self, when): self.manifest = dict(finished=when)


@pytest.mark.parametrize("stamps, said", [
    ([], "interrupted: the same command continues"),
    (["2001-01-01T00:00:00.000+00:00"], "interrupted: the same command continues"),
    (["2001-01-01T00:00:00.000+00:00", "2999-01-01T00:00:00.000+00:00"],
     "interrupted: 1 finished run is kept, the same command continues"),
    (["2999-01-01T00:00:00.000+00:00"] * 2, "interrupted: 2 finished runs are kept, the same command continues"),
    ([None], "interrupted: the same command continues"),
])
def test_only_runs_of_this_call_are_kept(monkeypatch, capsys, stamps, said):
    def interrupted(**_): raise KeyboardInterrupt
    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(store.RunStore, "list", lambda self: [Finished(when) for when in stamps])
    with pytest.raises(SystemExit) as end: cli.main([])
    assert end.value.code == 130 and capsys.readouterr().err == f"dclm-nb: {said}\n"


def test_a_store_that_cannot_be_read_does_not_hide_the_interruption(monkeypatch, capsys):
    def interrupted(**_): raise KeyboardInterrupt
    def broken(self): raise OSError("no disk")
    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(store.RunStore, "list", broken)
    with pytest.raises(SystemExit): cli.main([])
    assert capsys.readouterr().err == "dclm-nb: interrupted: the same command continues\n"
