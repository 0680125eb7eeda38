"""The stand-in for CUDA: correct kernels give CUDA's results, wrong ones are stopped with an error that says why."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Dim = tuple[int, int, int]


def run(
    host: ModuleType,
    name: str,
    inputs: Any = (),
    out: Any = 2048,
    grid: Dim = (1, 1, 1),
    block: Dim = (64, 1, 1),
    dtype: Any = np.int32,
) -> NDArray[Any]:
    """Runs a kernel of shim_cases.cu. Inputs are padded to 2048 elements; out is an array, or the size of one of zeros."""
    given = np.zeros(2048, dtype)
    given[: len(inputs)] = inputs
    result = out if isinstance(out, np.ndarray) else np.zeros(out, dtype)
    host.shim_case(name, grid, block, given, result)
    return result


def refused(host: ModuleType, name: str, *words: str, **call: Any) -> str:
    """Asserts that a kernel is stopped with its name and these words in this order; returns the message."""
    with pytest.raises(RuntimeError, match=".*".join(map(re.escape, (f"kernel {name}: ", *words)))) as error:
        run(host, name, **call)
    # The next launch is not affected.
    np.testing.assert_array_equal(run(host, "return_after_barrier", out=64), [1] * 63 + [0])
    return str(error.value)


@pytest.fixture
def host(cuda_host: ModuleType) -> ModuleType:
    return cuda_host


@pytest.fixture(params=["forward", "reversed"])
def either_order(request: pytest.FixtureRequest, host: ModuleType) -> str:
    host.set_schedule(1, request.param)
    return str(request.param)


# Barriers


def test_a_thread_that_returns_before_a_barrier(host: ModuleType, either_order: str) -> None:
    message = refused(host, "return_before_barrier", "waits in __syncthreads (shim_cases.cu:", "never reaches")
    assert "thread (63, 0, 0), never reaches: it has returned" in message


def test_a_thread_may_return_after_the_last_barrier(host: ModuleType, either_order: str) -> None:
    assert run(host, "return_after_barrier", block=(7, 5, 3)).sum() == 105 - 15


def test_two_barriers_in_two_branches(host: ModuleType, either_order: str) -> None:
    message = refused(
        host, "two_barriers", "waits in __syncthreads", "while thread", "waits in __syncthreads", "the same"
    )
    lines = re.findall(r"shim_cases\.cu:(\d+)", message)
    assert len(set(lines)) == 2


def test_a_barrier_that_one_thread_skips(host: ModuleType, either_order: str) -> None:
    refused(host, "skipped_barrier", "waits in __syncthreads", "thread (0, 0, 0), never reaches: it has returned")


# Shuffles


def test_a_mask_that_names_lanes_which_never_come(host: ModuleType, either_order: str) -> None:
    refused(host, "missing_lanes", "__shfl_xor_sync", "mask 0xffffffff", "lane 16", "it has returned")
    refused(host, "missing_lane", "__shfl_xor_sync", "lane 7, thread (7, 0, 0), never reaches: it has returned")
    refused(host, "lane_at_barrier", "__shfl_xor_sync", "lane 3", "it waits in __syncthreads", block=(32, 1, 1))
    # A block of half a warp does not have the other half.
    refused(host, "shuffles_int", "__shfl_xor_sync", "lane 16, that the block does not have", block=(16, 1, 1))


def test_a_mask_of_the_lanes_that_come(host: ModuleType, either_order: str) -> None:
    values = np.arange(64)
    expected = np.where(values % 32 < 16, values ^ 1, 0)
    np.testing.assert_array_equal(run(host, "named_lanes", values, out=64), expected)


def test_masks_that_do_not_fit_their_lanes(host: ModuleType, either_order: str) -> None:
    refused(
        host,
        "unnamed_caller",
        "thread (31, 0, 0) calls __shfl_xor_sync",
        "does not name its own lane",
        block=(32, 1, 1),
    )
    refused(host, "unnamed_source", "reads lane 16 in __shfl_xor_sync", "does not name that lane")
    refused(host, "different_masks", "__shfl_xor_sync", "never reaches", "__shfl_xor_sync", block=(32, 1, 1))


def test_lanes_apart(host: ModuleType, either_order: str) -> None:
    """Halves of a warp with separate masks do not wait for each other."""
    values = np.random.default_rng(0).integers(0, 100, 64)
    expected = values.copy()
    for first in range(0, 64, 16):
        half = values[first : first + 16]
        for i in range(5 if first % 32 == 0 else 2):
            half = half + half[np.arange(16) ^ (1 << i % 4)]
        expected[first : first + 16] = half
    np.testing.assert_array_equal(run(host, "apart", values, out=64), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_shuffles(host: ModuleType, either_order: str, dtype: Any) -> None:
    name = "shuffles_int" if dtype == np.int32 else "shuffles_double"
    values = np.random.default_rng(1).integers(-1000, 1000, 64).astype(dtype)
    if dtype == np.float64:
        values /= 7
    for distance in (0, 1, 3, 7, 16, 31):
        out = run(host, name, [*values, distance], out=64, dtype=dtype)
        np.testing.assert_array_equal(out, values[np.arange(64) ^ distance])


# Shared memory


def test_a_read_of_what_nobody_wrote(host: ModuleType, either_order: str) -> None:
    message = refused(host, "unwritten", "reads element 5 of shared memory, which no thread of the block wrote")
    assert "thread (5, 0, 0)" in message


def test_what_an_earlier_block_wrote_does_not_count(host: ModuleType, either_order: str) -> None:
    np.testing.assert_array_equal(run(host, "left_over", out=64, dtype=np.float32), 1)
    message = refused(host, "left_over", "no thread of the block wrote", grid=(2, 1, 1), dtype=np.float32)
    assert "block (1, 0, 0)" in message


@pytest.mark.parametrize(
    "name",
    [
        "shift_without_barrier",
        "write_after_read",
        "write_after_write",
        "shift_after_shuffle",
        "block_sums_overtaking",
    ],
)
def test_a_race(host: ModuleType, either_order: str, name: str) -> None:
    message = refused(host, name, "shared memory, which thread", "with no barrier between them", dtype=np.float32)
    assert len(set(re.findall(r"thread \(\d+, 0, 0\)", message))) == 2


def test_no_race(host: ModuleType, either_order: str) -> None:
    values = np.random.default_rng(4).standard_normal(64).astype(np.float32)
    expected = values[np.maximum(np.arange(64) - 1, 0)]
    np.testing.assert_array_equal(run(host, "shift", values, out=64, dtype=np.float32), expected)


@pytest.mark.parametrize("threads", [32, 256, 1024])
def test_block_sums(host: ModuleType, either_order: str, threads: int) -> None:
    """The usual block reduction is accepted, and sums."""
    values = np.random.default_rng(5).integers(0, 8, 2048).astype(np.float32)
    blocks = 2048 // threads
    out = run(host, "block_sums", values, grid=(blocks, 1, 1), block=(threads, 1, 1), dtype=np.float32)
    # The second round adds up the first one's sum, which every thread has.
    expected = values.reshape(blocks, threads).sum(1, keepdims=True) * threads
    np.testing.assert_array_equal(out.reshape(blocks, threads), np.broadcast_to(expected, (blocks, threads)))


def test_bounds(host: ModuleType) -> None:
    refused(host, "out_of_bounds", "thread (31, 0, 0) uses element 32 of a shared array of 32", block=(32, 1, 1))
    refused(host, "below_bounds", "thread (0, 0, 0) uses element -1 of a shared array of 32", block=(32, 1, 1))


# Limits


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"block": (1025, 1, 1)}, "the block (1025, 1, 1) has too many threads"),
        ({"block": (32, 33, 1)}, "the block (32, 33, 1) has too many threads"),
        ({"block": (1, 1, 65)}, "the block (1, 1, 65) has too many threads"),
        ({"block": (0, 1, 1)}, "has no threads"),
        ({"grid": (0, 1, 1)}, "the grid (0, 1, 1) has no blocks"),
        ({"grid": (1, 1, 0)}, "has no blocks"),
        ({"grid": (1, 65536, 1)}, "the grid (1, 65536, 1) is too large"),
        ({"grid": (1, 1, 65536)}, "is too large"),
        ({"grid": (1 << 31, 1, 1)}, "is too large"),
    ],
)
def test_launch_limits(host: ModuleType, call: dict[str, Any], words: str) -> None:
    refused(host, "return_after_barrier", words, **call)


def test_limits_that_are_just_kept(host: ModuleType) -> None:
    assert run(host, "return_after_barrier", block=(1024, 1, 1)).sum() == 1023
    assert run(host, "return_after_barrier", block=(2, 8, 64)).sum() == 512
    run(host, "return_after_barrier", grid=(1, 65535, 1), block=(1, 1, 1))
    run(host, "large_array", dtype=np.float32)


def test_too_much_shared_memory(host: ModuleType) -> None:
    refused(host, "two_large_arrays", "uses 49156 bytes of shared memory; expected at most 49152")


# The rest


def test_indices(host: ModuleType, either_order: str) -> None:
    grid, block = (2, 3, 2), (4, 2, 3)
    out = run(host, "indices", out=12 * 24 * 12, grid=grid, block=block).reshape(2, 3, 2, 3, 2, 4, 4, 3)
    for at in np.ndindex(2, 3, 2, 3, 2, 4):
        bz, by, bx, tz, ty, tx = at
        np.testing.assert_array_equal(out[at], [(tx, ty, tz), (bx, by, bz), block, grid])


def test_misaligned_and_null_pointers(host: ModuleType) -> None:
    """A 16-byte load needs a 16-byte address."""
    memory = np.arange(64, dtype=np.float32)
    memory = memory[-memory.ctypes.data % 16 // 4 :]
    out = np.zeros(64, np.float32)
    out = out[-out.ctypes.data % 16 // 4 :]
    host.shim_case("wide_load", (1, 1, 1), (1, 1, 1), memory, out)
    np.testing.assert_array_equal(out[:4], memory[:4])
    for wrong in ((memory[1:], out), (memory, out[1:]), (memory[2:], out[2:])):
        with pytest.raises(
            RuntimeError, match=r"kernel wide_load: .* uses the address 0x\w+ at shim_cases.cu:\d+, which is"
        ):
            host.shim_case("wide_load", (1, 1, 1), (1, 1, 1), *wrong)


def test_what_a_kernel_throws_comes_out_of_the_launch(host: ModuleType, either_order: str) -> None:
    with pytest.raises(IndexError, match="thrown by a kernel"):
        run(host, "throws")
    assert run(host, "return_after_barrier").sum() == 63


def test_an_unknown_case(host: ModuleType) -> None:
    with pytest.raises(ValueError, match="no shim case is named nothing"):
        run(host, "nothing")
