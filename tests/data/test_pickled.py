"""The pickle reader takes data and nothing else."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import re
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.data import unpickle_arrays
from seepage.errors import InputError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=12,
)


@settings(max_examples=30, deadline=None)
@given(plain, st.integers(0, 5))
def test_plain_values_come_back_in_every_protocol(value: Any, protocol: int) -> None:
    assert unpickle_arrays(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, -2, 3], dtype=">i4"),
        np.array([], dtype=np.float32),
        np.array([[True], [False]]),
    ],
    ids=["uint8", "fortran", "big-endian", "empty", "bool"],
)
def test_arrays_come_back_in_every_protocol(array: Any, protocol: int) -> None:
    twice = unpickle_arrays(pickle.dumps({"a": array, "b": [array]}, protocol=protocol))
    for back in (twice["a"], twice["b"][0]):
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype.newbyteorder("=")
        assert back.flags.writeable
        assert back.flags.owndata


def test_numpy_scalars_become_numbers() -> None:
    value = unpickle_arrays(pickle.dumps([np.float64(0.5), np.int64(-3)], protocol=2))
    assert value == [0.5, -3]
    assert [type(v) for v in value] == [float, int]


def test_names_that_numpy_2_writes_are_known_too() -> None:
    data = pickle.dumps(np.arange(3), protocol=2).replace(b"numpy.core.", b"numpy._core.")
    data = data.replace(b"numpy._core._core.", b"numpy._core.")
    np.testing.assert_array_equal(unpickle_arrays(data), np.arange(3))


class _Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open('{}', 'w')",), "eval"),
        (exec, ("open('{}', 'w')",), "exec"),
        (getattr, ("x", "upper"), "getattr"),
        (np.save, ("{}", [1]), "save"),
        (np.loadtxt, ("{}",), "loadtxt"),
        (np.array, ([1],), "array"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_calls_are_refused_by_name_and_never_made(
    tmp_path: Any, function: Any, arguments: Any, named: str, protocol: int
) -> None:
    trace = tmp_path / "trace"
    filled = tuple(a.format(trace) if isinstance(a, str) else a for a in arguments)
    data = pickle.dumps({"data": [_Call(function, *filled)]}, protocol=protocol)
    with pytest.raises(
        InputError, match=rf"bad: expected a pickle of arrays.*the name .*{named} at"
    ):
        unpickle_arrays(data, where="bad")
    assert not trace.exists()


def test_object_and_structured_arrays_are_refused() -> None:
    objects = pickle.dumps(np.array([1, "a", None], dtype=object), protocol=2)
    with pytest.raises(InputError, match="got the dtype 'O8'"):
        unpickle_arrays(objects)
    structured = pickle.dumps(np.zeros(2, dtype=[("a", "i4")]), protocol=2)
    with pytest.raises(InputError, match=r"got the dtype 'V4'"):
        unpickle_arrays(structured)


def test_a_plain_dtype_cannot_become_structured_by_its_state() -> None:
    data = pickle.dumps(np.zeros(2, dtype="<i4"), protocol=2)
    # The state (3, '<', None, None, None, -1, -1, 0): put names where the first None stands.
    hostile = data.replace(b"NNN", b"NK\x01N", 1)
    assert hostile != data
    with pytest.raises(InputError, match="got a structured dtype at byte"):
        unpickle_arrays(hostile)


def test_other_objects_are_refused() -> None:
    with pytest.raises(InputError, match=r"the name (builtins|__builtin__)\.set"):
        unpickle_arrays(pickle.dumps({1, 2}, protocol=2))
    with pytest.raises(InputError, match=r"the name collections\.OrderedDict"):
        unpickle_arrays(pickle.dumps(collections.OrderedDict(), protocol=2))
    with pytest.raises(InputError, match="the opcode EMPTY_SET"):
        unpickle_arrays(pickle.dumps({1, 2}, protocol=4))


def _array_pickle(shape: tuple[int, ...], content: bytes) -> bytes:
    """A pickled uint8 array whose header and content may disagree."""
    good = np.zeros(3, dtype=np.uint8)
    function, arguments, (version, _, dtype, fortran, _) = good.__reduce__()

    class Lie:
        def __reduce__(self) -> Any:
            return function, arguments, (version, shape, dtype, fortran, content)

    return pickle.dumps(Lie(), protocol=3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**15,), r"an array of shape \(1000000000000000,\) over 3 bytes"),
        ((2,), r"an array of shape \(2,\) over 3 bytes"),
        ((-3,), "an array of impossible shape"),
        ((3,) + (1,) * 40, "an array of impossible shape"),
        ((True, 3), "an array of impossible shape"),
    ],
)
def test_sizes_are_checked_against_what_is_there(shape: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unpickle_arrays(_array_pickle(shape, b"abc"))


def test_announced_lengths_take_no_memory() -> None:
    for announced in (
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"abc.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        b"\x80\x04\x96" + struct.pack("<Q", 2**62) + b"abc.",
    ):
        with pytest.raises(InputError, match="expected a whole pickle, got a truncated or corrupt"):
            unpickle_arrays(announced)


def _data_or_one_line(content: bytes) -> None:
    """Read it; anything but a value or one line for the user fails the test."""
    message = ""
    try:
        unpickle_arrays(content)
    except InputError as error:
        message = str(error)
    assert not message or re.fullmatch(r"pickle: expected a [^\n]*", message)


def test_a_backslash_anywhere_ends_in_data_or_an_input_error() -> None:
    """The standard library warns of escapes that are none; here warnings are errors."""
    for protocol in (0, 2):
        whole = pickle.dumps(
            {b"labels": [1, 2], b"data": np.arange(4), "é": "u"}, protocol=protocol
        )
        for at in range(len(whole)):
            _data_or_one_line(whole[:at] + b"\\" + whole[at + 1 :])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_cut_and_every_flipped_byte_ends_in_data_or_an_input_error(
    data: st.DataObject,
) -> None:
    whole = pickle.dumps({b"labels": [1, 2], b"data": np.arange(4)}, protocol=2)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InputError):
        unpickle_arrays(whole[:cut])
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] = data.draw(st.integers(0, 255))
    _data_or_one_line(bytes(flipped))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from([op.code for op in pickletools.opcodes if op.arg is None]), max_size=12
    )
)
def test_any_sequence_of_opcodes_ends_in_data_or_an_input_error(codes: list[str]) -> None:
    program = ("".join(codes) + ".").encode("latin-1")
    _data_or_one_line(b"I5\n" + program)


def test_unfinished_arrays_and_bare_names_are_no_values() -> None:
    with pytest.raises(InputError, match="got an unfinished value"):
        unpickle_arrays(b"cnumpy\nndarray\n.")
    blank = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR."
    with pytest.raises(InputError, match="got an unfinished value"):
        unpickle_arrays(b"(" + blank[:-1] + b"l.")


def test_no_pickle_machinery_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("an unpickler was made")

    data = pickle.dumps(np.arange(3), protocol=2)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    np.testing.assert_array_equal(unpickle_arrays(data), np.arange(3))


def test_a_list_that_holds_itself_is_read_without_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    stream = io.BytesIO()
    pickle.dump(loop, stream, protocol=2)
    back = unpickle_arrays(stream.getvalue())
    assert back[0] is back
