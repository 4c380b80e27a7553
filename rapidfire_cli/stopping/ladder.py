"""At which epochs the rungs of successive halving stand."""


def levels(first: int, most: int, factor: int) -> tuple[int, ...]:
    """The epochs at which rungs decide: first · factor^k, k = 0, 1, …, as long as that is below `most`."""
    found = []
    while first < most:
        found.append(first)
        first *= factor
    return tuple(found)
