"""The stand-in for CUDA itself: right kernels give CUDA's results, wrong ones are stopped with what they did."""

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
    shared: int = 0,
    dtype: Any = np.int32,
) -> NDArray[Any]:
    """Runs a kernel of shim_cases.cu; inputs are padded to 2048 elements; out is an array, or the size of a zero one."""
    given = np.zeros(2048, dtype)
    given[: len(inputs)] = inputs
    result = out if isinstance(out, np.ndarray) else np.zeros(out, dtype)
    host.shim_case(name, grid, block, shared, given, result)
    return result


def refused(host: ModuleType, name: str, *words: str, **call: Any) -> str:
    """Asserts that a kernel is stopped with its name and these words in this order, and gives the message."""
    with pytest.raises(RuntimeError, match=".*".join(map(re.escape, (f"kernel {name}: ", *words)))) as error:
        run(host, name, **call)
    # And that the next launch does not suffer from it.
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


@pytest.mark.parametrize("threads", [1, 31, 33, 257, 1024])
def test_barrier_votes(host: ModuleType, either_order: str, threads: int) -> None:
    for values in (np.zeros(threads), np.ones(threads), np.arange(threads) % 3):
        out = run(host, "barrier_votes", values, out=3 * threads, block=(threads, 1, 1)).reshape(threads, 3)
        wanted = [np.count_nonzero(values), np.any(values), np.all(values)]
        np.testing.assert_array_equal(out, np.tile(wanted, (threads, 1)))


# Warp collectives


def test_a_mask_that_names_lanes_which_never_come(host: ModuleType, either_order: str) -> None:
    refused(host, "missing_lanes", "__shfl_xor_sync", "mask 0xffffffff", "lane 16", "it has returned")
    refused(host, "missing_voter", "__any_sync", "lane 7, thread (7, 0, 0), never reaches: it has returned")
    refused(host, "missing_at_syncwarp", "__syncwarp", "lane 3", "it waits in __syncthreads", block=(32, 1, 1))
    # A block of half a warp does not have the other half.
    refused(host, "votes", "__ballot_sync", "lane 16, that the block does not have", block=(16, 1, 1))


def test_a_mask_of_the_lanes_that_come(host: ModuleType, either_order: str) -> None:
    values = np.arange(64)
    wanted = np.where(values % 32 < 16, values ^ 1, 0)
    np.testing.assert_array_equal(run(host, "named_lanes", values, out=64), wanted)


def test_masks_that_do_not_fit_their_lanes(host: ModuleType, either_order: str) -> None:
    refused(
        host, "unnamed_caller", "thread (31, 0, 0) calls __shfl_sync", "does not name its own lane", block=(32, 1, 1)
    )
    refused(host, "unnamed_source", "reads lane 16 in __shfl_sync", "does not name that lane")
    refused(host, "different_masks", "__ballot_sync", "never reaches", "__ballot_sync", block=(32, 1, 1))


def test_lanes_apart(host: ModuleType, either_order: str) -> None:
    """Halves of a warp with masks of their own do not wait for each other."""
    values = np.random.default_rng(0).integers(0, 100, 64)
    wanted = values.copy()
    for first in range(0, 64, 16):
        half = values[first : first + 16]
        for i in range(5 if first % 32 == 0 else 2):
            half = half + half[np.arange(16) ^ (1 << i % 4)]
        wanted[first : first + 16] = half
    np.testing.assert_array_equal(run(host, "apart", values, out=64), wanted)


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
@pytest.mark.parametrize("width", [1, 2, 8, 16, 32])
def test_shuffles(host: ModuleType, either_order: str, width: int, dtype: Any) -> None:
    name = "shuffles_int" if dtype == np.int32 else "shuffles_double"
    values = np.random.default_rng(1).integers(-1000, 1000, 64).astype(dtype)
    if dtype == np.float64:
        values /= 7
    lane = np.arange(64)
    first = lane // width * width
    last = first + width - 1
    for delta in (0, 1, 3, 7, 16, 31):
        other = (lane & 31 ^ delta) + lane // 32 * 32
        sources = [
            first + delta % width,
            np.where(lane - delta < first, lane, lane - delta),
            np.where(lane + delta > last, lane, lane + delta),
            np.where(other > last, lane, other),  # an earlier group can be read, a later one not
        ]
        out = run(host, name, [*values, width, delta], out=256, dtype=dtype)
        np.testing.assert_array_equal(out.reshape(4, 64), values[sources])


def test_a_width_that_is_no_power_of_two(host: ModuleType) -> None:
    for width in (0, 3, 33, 64):
        refused(host, "shuffles_int", f"width {width}; expected 1, 2", inputs=[*range(64), width, 0])


def test_votes(host: ModuleType, either_order: str) -> None:
    rng = np.random.default_rng(2)
    for values in (np.zeros(64), np.ones(64), rng.integers(0, 2, 64), np.repeat([0, 5], 32)):
        given = np.zeros(2048, np.int32)
        given[:64] = values
        out = np.zeros(192, np.uint32)
        host.shim_case("votes", (1, 1, 1), (64, 1, 1), 0, given, out)
        warps = values.reshape(2, 32) != 0
        ballots = [sum(1 << i for i in np.flatnonzero(warp)) for warp in warps]
        np.testing.assert_array_equal(
            out.reshape(3, 2, 32), np.stack([ballots, warps.any(1), warps.all(1)])[:, :, None].repeat(32, 2)
        )


def test_aggregated_additions(host: ModuleType, either_order: str) -> None:
    values = np.random.default_rng(3).integers(0, 2, 128)
    out = run(host, "aggregated", values, grid=(2, 1, 1), out=129)
    total = int(values.sum())
    assert out[0] == total
    np.testing.assert_array_equal(out[1:], np.arange(128) < total)


# Shared memory


def test_a_read_of_what_nobody_wrote(host: ModuleType, either_order: str) -> None:
    message = refused(host, "unwritten", "reads element 5 of shared memory, which no thread of the block wrote")
    assert "thread (5, 0, 0)" in message
    refused(host, "unwritten_dynamic", "reads element 5 of shared memory", "no thread of the block wrote", shared=256)


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
        "within_warp_shuffle",
        "across_warps",
        "across_half_warps",
        "block_sums_overtaking",
        "atomic_race",
    ],
)
def test_a_race(host: ModuleType, either_order: str, name: str) -> None:
    call: dict[str, Any] = {"dtype": np.int32 if name == "atomic_race" else np.float32}
    if name == "across_half_warps":
        call["block"] = (32, 1, 1)
    message = refused(host, name, "shared memory, which thread", "with no barrier between them", **call)
    assert len(set(re.findall(r"thread \(\d+, 0, 0\)", message))) == 2


def test_no_race(host: ModuleType, either_order: str) -> None:
    values = np.random.default_rng(4).standard_normal(64).astype(np.float32)
    i = np.arange(64)
    for name, wanted in (
        ("shift", values[np.maximum(i - 1, 0)]),
        ("within_warp_syncwarp", values[i ^ 1] * 2),
    ):
        np.testing.assert_array_equal(run(host, name, values, out=64, dtype=np.float32), wanted)
    half = run(host, "inside_half_warps", values[:32], out=32, block=(32, 1, 1), dtype=np.float32)
    np.testing.assert_array_equal(half, values[i[:32] ^ 8])


@pytest.mark.parametrize("threads", [32, 256, 1024])
def test_block_sums(host: ModuleType, either_order: str, threads: int) -> None:
    """The usual block reduction is silent, and sums."""
    values = np.random.default_rng(5).integers(0, 8, 2048).astype(np.float32)
    blocks = 2048 // threads
    out = run(host, "block_sums", values, grid=(blocks, 1, 1), block=(threads, 1, 1), dtype=np.float32)
    # The second round adds up the first one's sum, which every thread has.
    wanted = values.reshape(blocks, threads).sum(1, keepdims=True) * threads
    np.testing.assert_array_equal(out.reshape(blocks, threads), np.broadcast_to(wanted, (blocks, threads)))


def test_bounds(host: ModuleType) -> None:
    refused(host, "out_of_bounds", "thread (31, 0, 0) uses element 32 of a shared array of 32", block=(32, 1, 1))
    refused(host, "below_bounds", "thread (0, 0, 0) uses element -1 of a shared array of 32", block=(32, 1, 1))
    call: dict[str, Any] = {"inputs": np.ones(64), "dtype": np.float32, "out": np.zeros(64)}
    refused(host, "dynamic_sum", "uses element 33 of dynamic shared memory for 33", shared=4 * 64 + 8, **call)
    refused(host, "dynamic_sum", "uses element 0 of dynamic shared memory for 0", **call)


@pytest.mark.parametrize("threads", [32, 64, 512])
def test_dynamic_shared_memory(host: ModuleType, either_order: str, threads: int) -> None:
    values = np.random.default_rng(6).integers(0, 100, threads)
    shared = threads * 4 + threads // 32 * 8
    out = np.zeros(threads)
    run(host, "dynamic_sum", values, out=out, block=(threads, 1, 1), shared=shared, dtype=np.float32)
    np.testing.assert_array_equal(out, values.sum())


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
        ({"shared": (48 << 10) + 1}, "49153 bytes of dynamic shared memory"),
    ],
)
def test_launch_limits(host: ModuleType, call: dict[str, Any], words: str) -> None:
    refused(host, "return_after_barrier", words, **call)


def test_limits_that_are_just_kept(host: ModuleType) -> None:
    assert run(host, "return_after_barrier", block=(1024, 1, 1), shared=48 << 10).sum() == 1023
    assert run(host, "return_after_barrier", block=(2, 8, 64)).sum() == 512
    run(host, "return_after_barrier", grid=(1, 65535, 1), block=(1, 1, 1))
    run(host, "large_array", shared=16 << 10, dtype=np.float32)


def test_static_and_dynamic_shared_memory_together(host: ModuleType) -> None:
    refused(host, "large_array", "uses 32768 bytes of static and 16385 of dynamic", shared=(16 << 10) + 1)
    refused(host, "two_large_arrays", "uses 49156 bytes of static and 0 of dynamic")


# Atomics and the rest


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("int", np.int32), ("unsigned", np.uint32), ("long", np.uint64), ("float", np.float32), ("double", np.float64)],
)
def test_atomic_sums(host: ModuleType, either_order: str, name: str, dtype: Any) -> None:
    values = np.random.default_rng(7).integers(0, 50, 192).astype(dtype)
    out = run(host, f"atomic_sums_{name}", values, out=194, grid=(3, 1, 1), dtype=dtype)
    np.testing.assert_array_equal(out[:2], values.sum())
    # Each addition starts from where another one ended.
    starts, ends = np.sort(out[2:]), np.sort(out[2:] + values)
    assert starts[0] == 0
    np.testing.assert_array_equal(starts[1:], ends[:-1])


def test_other_atomics(host: ModuleType, either_order: str) -> None:
    values = np.random.default_rng(8).permutation(192) - 50
    out = run(host, "other_atomics", values, out=np.array([-1000, 0, 1, 7] + [0] * 192, np.int32), grid=(3, 1, 1))
    assert out[0] == values.max()
    assert out[1] == 192 % 7  # counts to 6 and starts again
    assert out[2] == pow(3, 192, 1009)
    # A chain of exchanges: every value is given to the one that comes next, the last one stays.
    assert sorted([*out[4:], out[3]]) == sorted([*values, 7])


def test_the_last_block_sees_what_the_others_wrote(host: ModuleType, either_order: str) -> None:
    values = np.arange(40) ** 2
    out = run(host, "last_block", values, grid=(40, 1, 1))
    assert out[1] == values.sum()
    assert out[0] == 0  # the counter is back for the next launch


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
    host.shim_case("wide_load", (1, 1, 1), (1, 1, 1), 0, memory, out)
    np.testing.assert_array_equal(out[:4], memory[:4])
    for wrong in ((memory[1:], out), (memory, out[1:]), (memory[2:], out[2:])):
        with pytest.raises(
            RuntimeError, match=r"kernel wide_load: .* uses the address 0x\w+ at shim_cases.cu:\d+, which is"
        ):
            host.shim_case("wide_load", (1, 1, 1), (1, 1, 1), 0, *wrong)


def test_what_a_kernel_throws_comes_out_of_the_launch(host: ModuleType, either_order: str) -> None:
    with pytest.raises(IndexError, match="thrown by a kernel"):
        run(host, "throws")
    assert run(host, "return_after_barrier").sum() == 63


def test_an_unknown_case(host: ModuleType) -> None:
    with pytest.raises(ValueError, match="no shim case is named nothing"):
        run(host, "nothing")
