"""One runner: results are kept by their inputs, tasks wait for others, failures are named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from seepage.errors import InputError, SeepageError
from seepage.store.lock import Lock
from seepage.store.result_files import read_result, write_result
from seepage.store.storage import Storage
from seepage.study import read_study
from seepage.study.runner import (
    Progress,
    Quiet,
    Result,
    Task,
    key_of,
    matching,
    run_tasks,
    stored_results,
)

ROOT = Path(__file__).parents[2]


class Lines(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def work(
    done: list[str],
    name: str,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result:
    done.append(name)
    if name.startswith("bad"):
        raise InputError(f"{name}: expected better")
    if name.startswith("bug"):
        raise KeyError(name)
    return {"found": name}


def task(folder: Path, done: list[str], name: str, key: str | None = None, after=()) -> Task:
    return Task(name, partial(work, done, name), folder / f"{name}.json", key, after=after)


def test_a_result_is_found_once_and_again_when_its_inputs_change(tmp_path: Path) -> None:
    done: list[str] = []
    first = key_of({"seed": 0})
    run_tasks([task(tmp_path, done, "a", first)], str(tmp_path))
    run_tasks([task(tmp_path, done, "a", first)], str(tmp_path))
    assert done == ["a"]
    other = task(tmp_path, done, "a", key_of({"seed": 1}))
    lines = Lines()
    assert stored_results([other], lines) == {}
    assert "of other settings" in lines.said[0]
    run_tasks([other], str(tmp_path))
    assert done == ["a", "a"]
    assert stored_results([other])["a"]["found"] == "a"


def test_a_result_from_before_keys_is_taken_as_it_is(tmp_path: Path) -> None:
    done: list[str] = []
    write_result(tmp_path / "a.json", {"found": "old"})
    run_tasks([task(tmp_path, done, "a", "k")], str(tmp_path))
    assert done == []
    (tmp_path / "a.json").write_text("{half")
    with pytest.raises(InputError, match=r"a.json: expected a result as JSON"):
        run_tasks([task(tmp_path, done, "a", "k")], str(tmp_path))


def test_what_is_found_on_the_way_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    seen: list[Result] = []

    def in_parts(before: Result, save: Callable[[Result], None], progress: Progress) -> Result:
        seen.append(dict(before))
        if not before:
            save({"parts": 1})
            raise InputError("cut short")
        return {"parts": 2}

    place = tmp_path / "a.json"
    one = Task("a", in_parts, place, "k", complete=lambda found: found["parts"] == 2)
    with pytest.raises(SeepageError, match="1 of 1 tasks failed; the first: a: cut short"):
        run_tasks([one], str(tmp_path))
    run_tasks([one], str(tmp_path))
    run_tasks([one], str(tmp_path))
    assert seen == [{}, {"parts": 1, "key": "k"}]
    assert read_result(place) == {"parts": 2, "key": "k"}


def test_a_result_that_holds_no_number_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    write_result(tmp_path / "a.json", {"key": "old", "found": 1})

    def broken(before: Result, save: Callable[[Result], None], progress: Progress) -> Result:
        return {"found": float("nan")}

    with pytest.raises(ValueError, match="Out of range float"):
        run_tasks([Task("a", broken, tmp_path / "a.json", "k")], str(tmp_path / "locks"))
    assert read_result(tmp_path / "a.json") == {"key": "old", "found": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "locks"]


def test_a_failure_costs_its_own_task_alone_and_a_bug_ends_everything(tmp_path: Path) -> None:
    done: list[str] = []
    tasks = [task(tmp_path, done, n) for n in ("bad", "good", "bad too")]
    lines = Lines()
    with pytest.raises(SeepageError, match="2 of 3 tasks failed; the first: bad: bad: expected"):
        run_tasks(tasks, str(tmp_path), progress=lines)
    assert done == ["bad", "good", "bad too"]
    assert lines.said[0] == "0 of 3 results are there"
    assert "bad too: failed: bad too: expected better" in lines.said
    with pytest.raises(KeyError):
        run_tasks([task(tmp_path, done, n) for n in ("bug", "never")], str(tmp_path))
    assert done[-1] == "bug"


def test_tasks_wait_for_those_they_come_after(tmp_path: Path) -> None:
    done: list[str] = []
    later = task(tmp_path, done, "b", after=("bad", "not asked for"))
    with pytest.raises(SeepageError):
        run_tasks([later, task(tmp_path, done, "bad")], str(tmp_path))
    assert done == ["bad", "b"]


def test_a_task_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    done: list[str] = []
    lines = Lines()
    tasks = [task(tmp_path, done, "a"), task(tmp_path, done, "b")]
    with Lock(Storage(str(tmp_path), write=True), place="locks/a"):
        run_tasks(tasks, str(tmp_path), progress=lines)
    assert done == ["b"]
    assert any(line.startswith("a: left to another process") for line in lines.said)


def test_patterns_choose_in_the_order_of_the_study() -> None:
    names = ["size-2", "size-1", "table"]
    assert matching(names, ["table", "size-*"]) == names
    assert matching(names, []) == names
    with pytest.raises(InputError, match="got 'tabel'; did you mean 'table'"):
        matching(names, ["tabel"])


def test_a_kind_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('kind = "layer"\n')
    with pytest.raises(InputError, match=r"study.toml: kind: expected dynamics, .*'layers'"):
        read_study(tmp_path / "study.toml")


@pytest.mark.parametrize(
    "kind", ["dynamics", "curvature", "attacks", pytest.param("layers", marks=pytest.mark.slow)]
)
def test_pages_of_the_repository_follow_from_their_results(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    study = read_study(Path(f"studies/{kind}.toml"))
    found = stored_results(study.tasks(study.names, "analyse"))
    assert study.page is not None
    assert study.markdown(found, f"studies/{kind}.toml") == Path(study.page).read_text()
