"""The layout of an array: which axis is what."""

from __future__ import annotations

from gpgan.data.kinds import ARRAYS, CHANNELS_MAX, SIGNAL_RATIO, Shape, stored_shape

# A last axis of at most this many entries is one of channels, unless the axis before it is as short.
CHANNELS_LAST = 4
# How to move the channels of an array with 3, 4 or 5 axes to the front.
MOVES = {3: "[N, C, T]: array.transpose(0, 2, 1)", 4: "[N, C, H, W]: array.transpose(0, 3, 1, 2)"}
MOVES[5] = "[N, C, D, H, W]: array.transpose(0, 4, 1, 2, 3)"
OTHERWISE = {
    3: "images that are as narrow are written as [N, 1, H, W]",
    4: "if they are not channels, return a gpgan.data.Dataset from module:attribute",
}
OTHERWISE[5] = OTHERWISE[4]


def layout(shape: Shape, where: str) -> tuple[Shape, tuple[str, ...]]:
    """From the shape of an array to the shape it is stored in, and a note if its channels may be last.

    Args:
        shape: ``[N, ...]``.
        where: Begins the messages.

    Raises:
        ValueError: It fits no kind of data, has no values, or its channels are probably last.
    """
    if 0 in shape:
        raise ValueError(f"{where} an array of shape {shape}, which has no values; expected {ARRAYS}")
    stored = stored_shape(shape)
    if _channels_last(shape, CHANNELS_LAST):
        raise ValueError(
            f"{where} an array of shape {shape}, apparently with its {shape[-1]} channel{'s' * (shape[-1] > 1)} last; expected "
            f"{MOVES[len(shape)]}; {OTHERWISE[len(shape)]}"
        )
    if len(shape) == 5 and shape[1] > CHANNELS_MAX:
        raise ValueError(
            f"{where} an array of shape {shape}, {shape[1]} channels; expected [N, C, D, H, W] with at most {CHANNELS_MAX}"
        )
    if stored is None:
        fix = ": array[:, None]" if len(shape) == 1 else ""
        raise ValueError(f"{where} an array of shape {shape}; expected {ARRAYS}{fix}")
    if _channels_last(shape, CHANNELS_MAX):
        sides = " x ".join(map(str, stored[2:]))
        many = f"{stored[1]} channel{'s' * (stored[1] > 1)}"
        return stored, (
            f"an array of shape {shape}, read as {many} of {sides}; if its {shape[-1]} last are channels, expected "
            f"{MOVES[len(shape)]}",
        )
    return stored, ()


def _channels_last(shape: Shape, most: int) -> bool:
    """Whether the last axis of an array looks like channels, of which there are at most ``most``."""
    if len(shape) not in MOVES or shape[-1] > most:
        return False
    if len(shape) == 3:
        return shape[1] >= SIGNAL_RATIO * shape[2]
    first, *_, before, last = shape[1:]
    if last in (1, 3, 4) and first > CHANNELS_MAX:
        return True
    # Channels are few; sides are many and often equal.
    return before != last and (first > max(most, CHANNELS_LAST) or 1 < first == before)
